// The rows of a sparse matrix at work, for products and convolutions.
#ifndef ONNXSQUEEZE_SPARSE_ROWS_H_
#define ONNXSQUEEZE_SPARSE_ROWS_H_

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "sparse.h"

namespace osq {

constexpr size_t kTableEnd = size_t{1} << 32;  // what a table can point at

constexpr size_t kTaskRows = 64;  // rows of a task

inline size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Memory that begins on a cache line.
struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float[], Free>;
inline Floats Allocate(size_t count) {
  void* const memory = std::aligned_alloc(64, RoundUp(count * sizeof(float), 64) + 64);
  if (memory == nullptr) throw std::bad_alloc();
  return Floats(static_cast<float*>(memory));
}

// The kernel for the width of a matrix's indices.
struct Rows {
  const SparseRows& matrix;
  const SparseKernels& kernels = ActiveSparseKernels();

  // Adds what some blocks of rows give to `out`, rows `width` apart.
  void Multiply(size_t row, size_t count, size_t first, size_t end, const uint32_t* table, const float* in,
                size_t width, float* out) const {
    const uint32_t* const begins = matrix.begins.data() + row * matrix.blocks;
    const float* const values = matrix.values.data();
    if (matrix.wide.empty()) {
      kernels.multiply16(
          {values, matrix.narrow.data(), begins + first, begins + end, count, matrix.blocks, table}, in,
          width, out);
    } else {
      kernels.multiply32(
          {values, matrix.wide.data(), begins + first, begins + end, count, matrix.blocks, table}, in, width,
          out);
    }
  }

  float Dot(size_t row, const float* in) const {
    const size_t begin = matrix.begin(row, 0), n = matrix.begin(row, matrix.blocks) - begin;
    const float* const values = matrix.values.data() + begin;
    return matrix.wide.empty() ? kernels.dot16(values, matrix.narrow.data() + begin, n, in)
                               : kernels.dot32(values, matrix.wide.data() + begin, n, in);
  }
};

// Results of some rows for one panel: tile[r * width ...], block of columns by block of columns, so that the
// inputs of a block stay in the nearest cache while all the rows meet them.
inline void FillTile(const Rows& rows, size_t first, size_t n, const uint32_t* table, const float* in,
                     size_t width, size_t blocks_at_once, const Epilogue& epilogue, float* tile) {
  for (size_t r = 0; r < n; ++r) std::fill_n(tile + r * width, width, epilogue.BiasOf(first + r));
  const size_t blocks = rows.matrix.blocks;
  for (size_t block = 0; block < blocks; block += blocks_at_once) {
    const size_t end = std::min(blocks, block + blocks_at_once);
    rows.Multiply(first, n, block, end, table, in, width, tile);
  }
}

}  // namespace osq

#endif  // ONNXSQUEEZE_SPARSE_ROWS_H_
