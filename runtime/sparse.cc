#include "sparse.h"

#include <cmath>
#include <cstring>

#include "codec.h"
#include "sparse_rows.h"

namespace osq {
namespace {

constexpr size_t kFew = 2;  // up to this batch, one row of the input at a time

void LinearRowByRow(const Rows& rows, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                    const Parallel& parallel) {
  const size_t count = rows.matrix.rows;
  parallel((count + kTaskRows - 1) / kTaskRows, [&](size_t task) {
    const size_t first = task * kTaskRows, end = std::min(count, first + kTaskRows);
    for (size_t b = 0; b < batch; ++b) {
      float* const out = y + b * count;
      for (size_t row = first; row < end; ++row) {
        out[row] = epilogue.BiasOf(row) + rows.Dot(row, x + b * rows.matrix.columns);
      }
      epilogue.Apply(out + first, end - first);
    }
  });
}

// Transposes `n` rows of x into columns of a panel whose rows are `width` apart; the rest of a row is 0.
void FillPanel(const float* x, size_t n, size_t columns, size_t width, float* panel) {
  constexpr size_t kBlock = 64;
  for (size_t first = 0; first < columns; first += kBlock) {
    const size_t end = std::min(columns, first + kBlock);
    for (size_t b = 0; b < width; ++b) {
      for (size_t c = first; c < end; ++c) panel[c * width + b] = b < n ? x[b * columns + c] : 0;
    }
  }
}

void LinearByPanels(const Rows& rows, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                    const Parallel& parallel) {
  const SparseRows& matrix = rows.matrix;
  const size_t width = std::min(kPanel, RoundUp(batch, 16)), panels = (batch + width - 1) / width;
  const size_t tasks = (matrix.rows + kTaskRows - 1) / kTaskRows;
  std::vector<uint32_t> table(matrix.columns);
  for (size_t c = 0; c < matrix.columns; ++c) table[c] = static_cast<uint32_t>(c * width);
  const Floats inputs = Allocate(panels * matrix.columns * width);
  const auto rows_in = [&](size_t panel) { return std::min(width, batch - panel * width); };
  parallel(panels, [&](size_t panel) {
    FillPanel(x + panel * width * matrix.columns, rows_in(panel), matrix.columns, width,
              inputs.get() + panel * matrix.columns * width);
  });
  parallel(panels * tasks, [&](size_t task) {
    const size_t panel = task / tasks, first = task % tasks * kTaskRows,
                 n = std::min(kTaskRows, matrix.rows - first);
    alignas(64) float tile[kTaskRows * kPanel];
    FillTile(rows, first, n, table.data(), inputs.get() + panel * matrix.columns * width, width,
             kPanel / width, epilogue, tile);
    epilogue.Apply(tile, n * width);
    for (size_t b = 0; b < rows_in(panel); ++b) {
      float* const out = y + (panel * width + b) * matrix.rows + first;
      for (size_t r = 0; r < n; ++r) out[r] = tile[r * width + b];
    }
  });
}

template <typename Function>
void Each(float* values, size_t n, Function function) {
  for (size_t i = 0; i < n; ++i) values[i] = function(values[i]);
}

}  // namespace

void Epilogue::Apply(float* values, size_t n) const {
  switch (activation) {
    case Activation::kNone:
      break;
    case Activation::kRelu:
      Each(values, n, [](float v) { return v > 0 ? v : v != v ? v : 0; });
      break;
    case Activation::kClip:
      Each(values, n, [this](float v) { return v < low ? low : v > high ? high : v; });
      break;
    case Activation::kHardSwish:
      Each(values, n, [](float v) { return v * std::min(std::max(v / 6 + 0.5f, 0.0f), 1.0f); });
      break;
    case Activation::kGelu:
      Each(values, n, [](float v) { return 0.5f * v * (1 + std::erf(v * 0.70710678f)); });
  }
}

size_t SparseRows::bytes() const {
  return 4 * begins.size() + 2 * narrow.size() + 4 * wide.size() + 4 * values.size();
}

SparseRows PackRows(const float* dense, size_t rows, size_t columns, size_t row_stride, size_t column_stride,
                    size_t block_columns) {
  SparseRows packed;
  packed.rows = rows;
  packed.columns = columns;
  packed.blocks = std::max<size_t>(1, (columns + block_columns - 1) / block_columns);
  const bool is_narrow = columns <= size_t{1} << 16;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      if (c % block_columns == 0) packed.begins.push_back(static_cast<uint32_t>(packed.values.size()));
      const float value = dense[r * row_stride + c * column_stride];
      if (value == 0) continue;
      packed.values.push_back(value);
      if (is_narrow) packed.narrow.push_back(static_cast<uint16_t>(c));
      if (!is_narrow) packed.wide.push_back(static_cast<uint32_t>(c));
    }
  }
  packed.begins.push_back(static_cast<uint32_t>(packed.values.size()));
  for (auto* list : {&packed.wide, &packed.begins}) list->shrink_to_fit();
  packed.narrow.shrink_to_fit();
  packed.values.shrink_to_fit();
  return packed;
}

void SparseLinear(const SparseRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel) {
  if (batch == 0 || matrix.rows == 0) return;
  const bool fits = matrix.columns * kPanel < kTableEnd;
  const auto run = batch <= kFew || !fits ? LinearRowByRow : LinearByPanels;
  run(Rows{matrix}, x, batch, epilogue, y, parallel);
}

const SparseKernels& ActiveSparseKernels() {
#ifdef __x86_64__
  if (std::strcmp(osq_isa(), "avx512") == 0) return kAvx512SparseKernels;
  if (std::strcmp(osq_isa(), "avx2") == 0 && __builtin_cpu_supports("fma")) return kAvx2SparseKernels;
#endif
  return kPortableSparseKernels;
}

}  // namespace osq
