// The inner loops, one table of functions per instruction set. All tables compute the same bits.
#ifndef ONNXSQUEEZE_KERNELS_H_
#define ONNXSQUEEZE_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "bits.h"

namespace osq {

// Kernels may read up to this many bytes past the inputs, and write past the outputs, that are marked
// "padded".
constexpr size_t kPadding = 64;

// One side of a merge: a padded array, or (values == nullptr) one leaf, over and over.
struct Source {
  const uint8_t* values;
  uint8_t leaf;
};

// Sorted boundaries for assignment, filled up with NaN, which is below and above nothing.
struct Boundaries {
  static constexpr int kCells = 4096;
  static constexpr float kLastCell = kCells - 1;
  int levels;  // of a binary search: the count is below 2^levels
  alignas(64) float sorted[256];

  // Equal cells from the first boundary to the last: at[c] boundaries lie in cells before c, and at most
  // `crowd` in any one cell. No cells where `crowd` is 0.
  int crowd;
  float low, cells_per_unit;
  uint8_t at[kCells];

  // The cell of a value; never decreases from one value to a larger one.
  OSQ_INLINE int CellOf(float value) const {
    float cell = (value - low) * cells_per_unit;
    cell = cell > 0.0f ? cell : 0.0f;  // minima and maxima, not branches
    cell = cell < kLastCell ? cell : kLastCell;
    return static_cast<int>(cell);
  }
};

struct Kernels {
  const char* name;

  // Number of ones among `n` bits from bit `first`.
  size_t (*count_ones)(const uint8_t* bits, size_t first, size_t n);

  // out[i] = the next element of `one` where bit `first` + i is set, else the next of `zero`.
  void (*merge)(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out);

  // out[i] = table[in[i]], a table of 256.
  void (*translate)(const uint8_t* in, size_t n, const uint8_t* table, uint8_t* out);

  // Appends one bit per label (padded) to `bits`: whether it is at least `pivot`; parts the labels by it into
  // `zero` and `one` (padded; null: not wanted). `zero` may be the labels' own place. Returns the number of
  // ones.
  size_t (*split)(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero,
                  uint8_t* one);

  // Unpacks fields of `width` (1, 2, 4, 8) bits, shifts them left and stores them, or ORs them into `out`.
  void (*spread)(const uint8_t* plane, int width, int shift, bool merge, size_t n, uint8_t* out);

  // Packs bits `shift` ... `shift` + `width` - 1 of each value; pads the last 8 values with zeros.
  void (*gather)(const uint8_t* values, int width, int shift, size_t n, uint8_t* plane);

  // out[i] = codebook[indices[i]]; the codebook is filled up to 256 entries, so that any index is in bounds.
  void (*lookup)(const uint8_t* indices, size_t n, const float* codebook, size_t entries, float* out);

  // Conversion to float16, ties to even.
  void (*to_half)(const float* values, size_t n, uint16_t* out);

  // indices[i] = number of boundaries b with b <= values[i].
  void (*assign)(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices);
};

// The fastest table that this machine runs, capped by ONNXSQUEEZE_ISA.
const Kernels& ActiveKernels();

extern const Kernels kPortableKernels;
#ifdef __x86_64__
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace osq

#endif  // ONNXSQUEEZE_KERNELS_H_
