// Rows of a sparse matrix at work on panels, for products and convolutions.
#ifndef ONNXSQUEEZE_PANELS_H_
#define ONNXSQUEEZE_PANELS_H_

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "sparse.h"

namespace osq {

constexpr size_t kTaskProducts = 1 << 16;      // vector products that are worth a task of their own
constexpr size_t kTableEnd = size_t{1} << 32;  // what a table can point at

inline size_t Ceil(size_t n, size_t unit) { return (n + unit - 1) / unit; }

// Memory that begins on a cache line.
struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float[], Free>;
inline Floats Allocate(size_t count) {
  if (count > SIZE_MAX / 8) throw std::bad_alloc();
  void* const memory = std::aligned_alloc(64, Ceil(count * sizeof(float), 64) * 64 + 64);
  if (memory == nullptr) throw std::bad_alloc();
  return Floats(static_cast<float*>(memory));
}

// Sizes of what is worked on at once, measured: the vectors of a block fit the nearest cache, and columns of
// a block are numbered in 8 bits.
struct Shape {
  size_t block, vectors;  // columns, and the most vectors of a panel
  size_t rows;            // of a chunk, at most
};
constexpr Shape kLinearShape = {256, 3, 512}, kConvolutionShape = {128, 4, 256};
constexpr size_t kMostRows = 512;  // that are worked on at once
constexpr size_t kMostSums = kMostRows * 4 * 16,
                 kMostInputs = 128 * 4 * 16 + 16;  // floats of them, of a block

// Panels that `total` vectors are cut into, as equal as they can be.
struct Cut {
  size_t vectors, panels;  // of a panel; the last may have fewer

  Cut(size_t total, size_t most) : vectors(Ceil(total, Ceil(total, most))), panels(Ceil(total, vectors)) {}
};

// Chunks that one task takes on, so that it has enough to do.
inline size_t ChunksOfTask(const SparseRows& matrix, size_t vectors) {
  const size_t products = std::max<size_t>(1, matrix.entries * vectors / matrix.panels.chunks.size());
  return std::clamp<size_t>(kTaskProducts / products, 1, matrix.panels.chunks.size());
}

// The values of a chunk in one block, ready to be multiplied.
inline PanelBlock BlockOf(const PanelRows& panels, const PanelRows::Chunk& chunk, size_t block) {
  const size_t blocks = chunk.begins.size() - 1, begin = chunk.begins[block];
  const RowRun* const runs = panels.runs.data() + chunk.first * blocks + block * chunk.rows;
  return {panels.values.data() + begin, panels.index.data() + begin, runs, chunk.rows, nullptr, {}, {}};
}

}  // namespace osq

#endif  // ONNXSQUEEZE_PANELS_H_
