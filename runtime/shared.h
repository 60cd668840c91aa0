// Products with weights that share the values of a codebook, and rows of embeddings, float32: indices stay
// packed and are looked up where they are needed.
#ifndef ONNXSQUEEZE_SHARED_H_
#define ONNXSQUEEZE_SHARED_H_

#include <cstdint>

#include "large_pages.h"
#include "pack.h"
#include "product.h"

namespace osq {

// A matrix of indices into a codebook: element (r, c) is codebook[indices[r * row_stride + c *
// column_stride]], times row_scale[r] and column_scale[c] where these are given (not null).
struct SharedMatrix {
  const uint8_t* indices;
  size_t rows, columns, row_stride, column_stride;
  const float* codebook;
  size_t entries;  // 1 ... 256
  const float *row_scale, *column_scale;
};

// A packed matrix of indices of 1 ... 8 bits.
struct SharedRows {
  size_t rows = 0, columns = 0;
  int bits = 0;
  size_t steps = 0;             // of a row, each of 16 words
  Pages<uint32_t> indices;      // as SharedBlock says
  std::vector<float> codebook;  // kCodebook entries
  std::vector<float> row_scale, column_scale;

  size_t bytes() const;
};

// Returns a status: OSQ_INDEX where an index is not below `entries`.
int PackShared(const SharedMatrix& matrix, SharedRows* packed);

// y [batch, rows] = x [batch, columns] times the transposed matrix.
void SharedLinear(const SharedRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel);

// An embedding whose indices lie as FORMAT.md packs them (3.1): nothing is copied, so the stream's payload,
// the codebook and the scale must outlive it. Row r is codebook[index] of the elements r * columns ..., times
// row_scale[r] and column_scale[c] where these are given.
struct PackedTable {
  PackedStream indices;  // opened for rows * columns elements
  size_t rows = 0, columns = 0;
  const float* codebook = nullptr;
  size_t entries = 0;
  const float *row_scale = nullptr, *column_scale = nullptr;
};

// y [count, columns] = the rows that `ids` names, in -rows ... rows - 1 (negative: from the end, as in ONNX).
// Returns a status: OSQ_POSITION for other ids, OSQ_INDEX for an index that is not below `entries`.
int GatherRows(const PackedTable& table, const int64_t* ids, size_t count, float* y,
               const Parallel& parallel);

}  // namespace osq

#endif  // ONNXSQUEEZE_SHARED_H_
