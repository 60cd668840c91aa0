// Products of sparse matrices and dense ones.
#include <algorithm>

#include "panels.h"

namespace osq {
namespace {

constexpr size_t kTaskEntries = 1 << 16;  // products of single values that are worth a task

// One row of x at a time, slices of 16 outputs at once.
void LinearBySlices(const SparseRows& matrix, const float* x, const Epilogue& epilogue, float* y,
                    const Parallel& parallel) {
  const ProductKernels& kernels = ActiveProductKernels();
  const SliceRows& packed = matrix.slices;
  const size_t slices = packed.slices.size(), mean = matrix.entries / slices + 1;
  const size_t together = std::clamp<size_t>(kTaskEntries / mean, 1, slices);
  parallel(Ceil(slices, together), [&](size_t task) {
    const size_t end = std::min(slices, (task + 1) * together);
    for (size_t i = task * together; i < end; ++i) {
      const SliceRows::Slice& slice = packed.slices[i];
      float sums[16];
      kernels.slice(packed.values.data() + slice.begin, packed.distance.data() + slice.begin, slice.steps, x,
                    sums);
      for (size_t lane = 0; lane < 16; ++lane) {
        if (slice.row[lane] != SliceRows::kNoRow) sums[lane] += epilogue.BiasOf(slice.row[lane]);
      }
      epilogue.Apply(sums, 16);
      for (size_t lane = 0; lane < 16; ++lane) {
        if (slice.row[lane] != SliceRows::kNoRow) y[slice.row[lane]] = sums[lane];
      }
    }
  });
}

// One row of x at a time, only the columns that do not meet zero.
void LinearByColumns(const SparseRows& matrix, const float* x, const Epilogue& epilogue, float* y,
                     const Parallel& parallel) {
  const ColumnRows& packed = matrix.by_column;
  std::vector<uint32_t> used(matrix.columns);
  size_t count = 0;
  for (size_t c = 0; c < matrix.columns; ++c) {
    used[count] = static_cast<uint32_t>(c);
    count += x[c] != 0;
  }
  parallel(packed.chunks.size(), [&](size_t task) {
    const ColumnRows::Chunk& chunk = packed.chunks[task];
    float* const out = y + chunk.first;
    for (size_t r = 0; r < chunk.rows; ++r) out[r] = epilogue.BiasOf(chunk.first + r);
    for (size_t i = 0; i < count; ++i) {
      const float factor = x[used[i]];
      const size_t end = chunk.begins[used[i] + 1];
      for (size_t at = chunk.begins[used[i]]; at < end; ++at)
        out[packed.row[at]] += factor * packed.values[at];
    }
    epilogue.Apply(out, chunk.rows);
  });
}

// Rows of x side by side, as vectors of neighbours: a panel of them, column by column.
class Interleaved {
 public:
  Interleaved(const ProductKernels& kernels, const float* x, size_t batch, size_t columns, const Cut& cut)
      : kernels_(kernels), x_(x), batch_(batch), columns_(columns), pitch_(cut.vectors * kernels.width) {
    panels_ = Allocate(cut.panels * columns * pitch_);
  }

  const float* panel(size_t i) const { return panels_.get() + i * columns_ * pitch_; }

  void Fill(size_t panel) const {
    const size_t width = kernels_.width;
    float* const out = panels_.get() + panel * columns_ * pitch_;
    for (size_t v = 0; v < pitch_; v += width) {
      const float* from[16];
      for (size_t c = 0; c < columns_; c += 8) {
        for (size_t lane = 0; lane < width; ++lane) {
          const size_t row = panel * pitch_ + v + lane;
          from[lane] = row < batch_ ? x_ + row * columns_ + c : kZeros;
        }
        kernels_.interleave(from, std::min<size_t>(8, columns_ - c), out + c * pitch_ + v, pitch_);
      }
    }
  }

 private:
  static constexpr float kZeros[8] = {};

  const ProductKernels& kernels_;
  const float* x_;
  size_t batch_, columns_, pitch_;
  Floats panels_;
};

// Stores the results of some rows for a panel that begins at row `first` of y.
void StoreTile(const ProductKernels& kernels, const float* tile, size_t rows, size_t pitch, size_t batch,
               size_t stride, float* y) {
  for (size_t v = 0; v < pitch && v < batch; v += kernels.width) {
    const size_t lanes = std::min(kernels.width, batch - v);
    for (size_t r = 0; r < rows; r += 8) {
      float* to[16];
      for (size_t lane = 0; lane < lanes; ++lane) to[lane] = y + (v + lane) * stride + r;
      kernels.part(tile + r * pitch + v, pitch, std::min<size_t>(8, rows - r), lanes, to);
    }
  }
}

void LinearByPanels(const SparseRows& matrix, const float* x, size_t batch, const Epilogue& epilogue,
                    float* y, const Parallel& parallel) {
  const ProductKernels& kernels = ActiveProductKernels();
  const std::vector<PanelRows::Chunk>& chunks = matrix.panels.chunks;
  const Cut cut(Ceil(batch, kernels.width), matrix.panels.vectors);
  const size_t pitch = cut.vectors * kernels.width, together = ChunksOfTask(matrix, cut.vectors);
  const Interleaved inputs(kernels, x, batch, matrix.columns, cut);
  parallel(cut.panels, [&](size_t panel) { inputs.Fill(panel); });
  const size_t tasks = Ceil(chunks.size(), together);
  parallel(cut.panels * tasks, [&](size_t task) {
    const size_t panel = task / tasks, begin = task % tasks * together, first = panel * pitch;
    alignas(64) float tile[kMostSums];
    for (size_t i = begin; i < std::min(chunks.size(), begin + together); ++i) {
      const PanelRows::Chunk& chunk = chunks[i];
      for (size_t b = 0; b + 1 < chunk.begins.size(); ++b) {
        PanelBlock block = BlockOf(matrix.panels, chunk, b);
        block.in = inputs.panel(panel) + b * matrix.panels.block * pitch;
        const float* const bias = epilogue.bias.empty() ? nullptr : epilogue.bias.data() + chunk.first;
        block.sums = {b == 0 ? bias : nullptr, b == 0 ? nullptr : tile, pitch, tile, pitch, false, 0, 0};
        kernels.multiply(block, cut.vectors);
      }
      epilogue.Apply(tile, chunk.rows * pitch);
      StoreTile(kernels, tile, chunk.rows, pitch, batch - first, matrix.rows,
                y + first * matrix.rows + chunk.first);
    }
  });
}

}  // namespace

void SparseLinear(const SparseRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel) {
  if (batch == 0 || matrix.rows == 0) return;
  if (matrix.use == Use::kPanel || matrix.use == Use::kConvolution) {
    return LinearByPanels(matrix, x, batch, epilogue, y, parallel);
  }
  const auto linear = matrix.use == Use::kVector ? LinearBySlices : LinearByColumns;
  for (size_t b = 0; b < batch; ++b) {
    linear(matrix, x + b * matrix.columns, epilogue, y + b * matrix.rows, parallel);
  }
}

}  // namespace osq
