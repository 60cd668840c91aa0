// Packed streams, for those who read them block by block.
#ifndef ONNXSQUEEZE_PACK_H_
#define ONNXSQUEEZE_PACK_H_

#include "kernels.h"

namespace osq {

// Widths of the planes that make up some number of bits, from high to low.
struct Planes {
  int count;
  int widths[3];
};
Planes PlanesOf(int bits);

struct PackedStream {
  int bits = 0;  // 0 ... 8
  const uint8_t* plane[3] = {};

  // Checks the planes, which begin at `payload`: sizes that fit `count`, unused elements that are 0. Returns
  // a status.
  int Open(const uint8_t* payload, const int64_t* sizes, int k, size_t count);

  // Writes (or ORs into) out the elements `first` (a multiple of 8) ... `first` + n - 1.
  void Read(const Kernels& kernels, size_t first, size_t n, bool merge, uint8_t* out) const;
};

// Refuses sizes that are negative or do not add up to the payload.
int CheckSegments(const int64_t* sizes, size_t segments, size_t payload_bytes);

}  // namespace osq

#endif  // ONNXSQUEEZE_PACK_H_
