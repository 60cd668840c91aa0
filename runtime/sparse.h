// Products and convolutions with sparse weights, float32.
//
// A matrix has one row an output channel. It is laid out for what it will meet; packed, it is immutable and
// may be used from many threads at once. All elements of y are written, and results do not depend on the
// number of threads. Scratch memory that is not to be had throws std::bad_alloc, an input beyond all
// addresses std::length_error.
#ifndef ONNXSQUEEZE_SPARSE_H_
#define ONNXSQUEEZE_SPARSE_H_

#include <cstdint>

#include "large_pages.h"
#include "product_kernels.h"

namespace osq {

// A matrix that lies dense: element (r, c) is values[r * row_stride + c * column_stride].
struct DenseMatrix {
  const float* values;
  size_t rows, columns, row_stride, column_stride;
};

// For panels: rows are kept in chunks, a chunk's values block of columns by block, so that what a block meets
// stays in the nearest cache while all the rows of the chunk meet it. In a block, rows are in the order of
// their number of values: a loop that runs as often as the one before is well predicted.
struct PanelRows {
  struct Chunk {
    size_t first, rows;          // never of two groups of a convolution
    std::vector<size_t> begins;  // of the values of each block; and the end
  };
  size_t block = 0, vectors = 0;  // columns, and the most vectors of a panel
  std::vector<Chunk> chunks;
  std::vector<RowRun> runs;  // chunk by chunk, block by block
  Pages<uint8_t> index;
  Pages<float> values;
};

// For single vectors: rows are kept in slices of 16, side by side; step i of a slice holds the i-th value of
// each row, and how far its column lies beyond the one before. Longer ways, and the ends of shorter rows, are
// filled up with zeros. Slices are of rows of similar length, of one chunk of rows.
struct SliceRows {
  struct Slice {
    uint32_t row[16];  // kNoRow where there is none
    size_t begin, steps;
  };
  static constexpr uint32_t kNoRow = 0xFFFFFFFF;
  std::vector<Slice> slices;
  Pages<uint8_t> distance;
  Pages<float> values;
};

// For vectors with many zeros: by column, for each chunk of rows.
struct ColumnRows {
  struct Chunk {
    size_t first, rows;
    std::vector<size_t> begins;  // of each column; and the end
  };
  std::vector<Chunk> chunks;
  Pages<uint16_t> row;  // in the chunk
  Pages<float> values;
};

// A packed sparse matrix; one of the three holds it.
struct SparseRows {
  size_t rows = 0, columns = 0;
  size_t entries = 0;
  Use use = Use::kPanel;
  PanelRows panels;
  SliceRows slices;
  ColumnRows by_column;

  size_t bytes() const;
};

// Packs the elements that are not zero. Columns of a convolution are in the order [channel, tap].
SparseRows PackRows(const DenseMatrix& matrix, const Purpose& purpose);

// y [batch, rows] = x [batch, columns] times the transposed matrix.
void SparseLinear(const SparseRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel);

// y [batch, rows, output] = x [batch, channels, input] convolved with the matrix [rows, channels / groups *
// taps], plus `residual`, of the shape of y, before the activation; null: nothing.
void SparseConvolve(const SparseRows& matrix, const Convolution& convolution, const float* x, size_t batch,
                    const Epilogue& epilogue, const float* residual, float* y, const Parallel& parallel);

}  // namespace osq

#endif  // ONNXSQUEEZE_SPARSE_H_
