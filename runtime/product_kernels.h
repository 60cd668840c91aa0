// The inner loops of products with packed weights, one table of functions for each instruction set. Results
// of different ones agree to rounding.
#ifndef ONNXSQUEEZE_PRODUCT_KERNELS_H_
#define ONNXSQUEEZE_PRODUCT_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "product.h"

namespace osq {

constexpr size_t kMaxVectors = 4;  // of a panel: columns that are computed at once, in vectors

// A row of a block of a sparse matrix: which row of its chunk, and how many values.
struct RowRun {
  uint16_t row, count;
};

// A run of what a column of a convolution meets in a panel.
struct PanelPiece {
  size_t from, to;  // from the column's begin, and in the panel
  size_t vectors;
};

// Where sums begin, and where they go.
struct PanelSums {
  const float* bias;  // by row of the chunk; null: zeros
  const float* from;  // what is added to it: row r at r * from_stride; null: zeros
  size_t from_stride;
  float* out;  // row r at r * out_stride
  size_t out_stride;
  bool is_bound;  // whether sums are kept from `low` to `high`
  float low, high;
};

// What is used next, and is brought near meanwhile: for each row a column of another block, and where the
// row's sums will go.
struct PanelNext {
  const float* in;  // column c at in + table[c]
  const uint32_t* table;
  size_t columns;
  bool out_is_far;
};

// Some rows of a sparse matrix, and the columns of one block, whose vectors lie side by side.
struct PanelBlock {
  const float* values;
  const uint8_t* index;  // of each value: the column in the block
  const RowRun* runs;    // the rows, in the order of their values
  size_t rows;
  const float* in;
  PanelSums sums;
  PanelNext next;
};

// A few rows of packed indices, and the vectors that meet them. Indices lie in steps of 16 words; word w of a
// step holds, from its low bits on, those of columns w, w + 16, w + 32, ... of the step.
struct SharedBlock {
  // Rows that are multiplied with `batch` vectors at once, so that sums fill the registers.
  static constexpr size_t RowsFor(size_t batch) { return batch <= 2 ? 4 : 2; }

  const uint32_t* words[4];  // of each row
  size_t steps;
  const float* codebook;  // kCodebook entries: the codebook over and over
  const float* x;         // filled up with zeros to whole steps
  size_t stride;          // from one vector to the next
};
constexpr size_t kCodebook = 256;

// Sixteen rows of an N:M matrix, and the vectors that meet them. A step is 16 words and then so many vectors
// of 16 values, one a row: a slot each. The words hold the positions of the slots in their groups, from the
// low bits on.
struct NmBlock {
  static constexpr size_t SlotsOf(int bits) { return bits == 2 ? 16 : 8; }

  const float* steps;
  size_t count;
  const float* x;   // of each group, its 2^bits elements of each vector
  size_t kept_log;  // a group has 2^kept_log slots
};

struct ProductKernels {
  size_t width;  // floats of a vector

  // Adds to each row's sums, which are `vectors` vectors: value * in[column of the value ...].
  void (*multiply)(const PanelBlock& block, size_t vectors);

  // Copies the pieces of some columns side by side, those of the next `pitch` floats further on; column c
  // begins at from + table[c]. The last vector of a piece may reach over what comes next, which is written
  // later, or over the end.
  void (*collect)(const float* from, const uint32_t* table, size_t columns, const PanelPiece* pieces,
                  size_t count, size_t pitch, float* out);

  // out[i * stride + lane] = from[lane][i], for i < n <= 8 and lane < width. Reads no further than n floats.
  void (*interleave)(const float* const* from, size_t n, float* out, size_t stride);

  // The other way: to[lane][i] = in[i * stride + lane], for i < n <= 8 and lane < lanes.
  void (*part)(const float* in, size_t stride, size_t n, size_t lanes, float* const* to);

  // sums[lane] = sum over steps s of values[16 * s + lane] * x[distance[lane] + ... + distance[16 * s +
  // lane]].
  void (*slice)(const float* values, const uint8_t* distance, size_t steps, const float* x, float* sums);

  // sums[row * batch + b] = the sum of products of a row and vector b, for RowsFor(batch) rows and a batch of
  // 1, 2, 4 or 8.
  void (*multiply_shared)(const SharedBlock& block, int bits, size_t batch, float* sums);

  // sums[16 * b + row] = the sum of products of a row and vector b; positions have 2, 3 or 4 bits, the batch
  // is a power of two up to nm_batch.
  size_t nm_batch;
  void (*multiply_nm)(const NmBlock& block, int bits, size_t batch, float* sums);

  // to[i] += from[i].
  void (*add)(const float* from, float* to, size_t n);

  void (*activate)(Activation activation, float low, float high, float* values, size_t n);
};

const ProductKernels& ActiveProductKernels();

extern const ProductKernels kPortableProducts;
#ifdef __x86_64__
extern const ProductKernels kAvx2Products;
extern const ProductKernels kAvx512Products;
#endif

}  // namespace osq

#endif  // ONNXSQUEEZE_PRODUCT_KERNELS_H_
