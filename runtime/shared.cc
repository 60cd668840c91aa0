#include "shared.h"

#include <algorithm>
#include <atomic>

#include "codec.h"
#include "panels.h"
#include "product_kernels.h"

namespace osq {
namespace {

constexpr size_t kTaskRows = 64;

int BitsFor(size_t entries) {
  int bits = 1;
  while (size_t{1} << bits < entries) ++bits;
  return bits;
}

}  // namespace

size_t SharedRows::bytes() const {
  return 4 * (indices.size() + codebook.size() + row_scale.size() + column_scale.size());
}

int PackShared(const SharedMatrix& m, SharedRows* packed) {
  if (m.entries < 1 || m.entries > kCodebook) return OSQ_BAD_ARGUMENT;
  SharedRows result;
  result.rows = m.rows;
  result.columns = m.columns;
  result.bits = BitsFor(m.entries);
  const auto bits = static_cast<size_t>(result.bits), step = 16 * (32 / bits);
  result.codebook.assign(kCodebook, 0.0f);
  for (size_t i = 0; i < kCodebook; ++i) {
    const size_t entry = i % (size_t{1} << bits);
    if (entry < m.entries) result.codebook[i] = m.codebook[entry];
  }
  result.steps = Ceil(m.columns, step);
  result.indices.assign(m.rows * result.steps * 16, 0);
  for (size_t r = 0; r < m.rows; ++r) {
    uint32_t* const words = result.indices.data() + r * result.steps * 16;
    for (size_t c = 0; c < m.columns; ++c) {
      const uint32_t index = m.indices[r * m.row_stride + c * m.column_stride];
      if (index >= m.entries) return OSQ_INDEX;
      words[c / step * 16 + c % 16] |= index << (c % step / 16 * bits);
    }
  }
  if (m.row_scale != nullptr) result.row_scale.assign(m.row_scale, m.row_scale + m.rows);
  if (m.column_scale != nullptr) result.column_scale.assign(m.column_scale, m.column_scale + m.columns);
  *packed = std::move(result);
  return OSQ_OK;
}

namespace {

// The vectors, times the scale of columns, filled up with zeros to whole steps; as they are where that
// changes nothing.
class Padded {
 public:
  Padded(const SharedRows& m, const float* x, size_t batch) : x_(x), stride_(m.columns) {
    const size_t whole = m.steps * 16 * (32 / static_cast<size_t>(m.bits));
    if (batch == 1 && whole == m.columns && m.column_scale.empty()) return;
    stride_ = whole + 16;
    copy_ = Allocate(batch * stride_);
    x_ = copy_.get();
    for (size_t b = 0; b < batch; ++b) {
      float* const out = copy_.get() + b * stride_;
      std::copy_n(x + b * m.columns, m.columns, out);
      std::fill(out + m.columns, out + whole, 0.0f);
      for (size_t c = 0; c < m.column_scale.size(); ++c) out[c] *= m.column_scale[c];
    }
  }

  const float* vector(size_t b) const { return x_ + b * stride_; }
  size_t stride() const { return stride_; }

 private:
  Floats copy_;
  const float* x_;
  size_t stride_;
};

size_t Together(size_t left) { return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

}  // namespace

void SharedLinear(const SharedRows& m, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel) {
  if (batch == 0 || m.rows == 0) return;
  const ProductKernels& kernels = ActiveProductKernels();
  const Padded padded(m, x, batch);
  parallel(Ceil(m.rows, kTaskRows), [&](size_t task) {
    const size_t first = task * kTaskRows, end = std::min(m.rows, first + kTaskRows);
    for (size_t b = 0, n; b < batch; b += n) {
      n = Together(batch - b);
      const size_t rows = SharedBlock::RowsFor(n);
      SharedBlock block{{}, m.steps, m.codebook.data(), padded.vector(b), padded.stride()};
      for (size_t r = first; r < end; r += rows) {
        float sums[16];
        for (size_t i = 0; i < rows; ++i) {
          block.words[i] = m.indices.data() + std::min(r + i, end - 1) * m.steps * 16;
        }
        kernels.multiply_shared(block, m.bits, n, sums);
        for (size_t i = 0; i < std::min(rows, end - r) * n; ++i) {
          const size_t row = r + i / n;
          const float scale = m.row_scale.empty() ? 1 : m.row_scale[row];
          y[(b + i % n) * m.rows + row] = epilogue.BiasOf(row) + sums[i] * scale;
        }
      }
    }
    for (size_t b = 0; b < batch; ++b) epilogue.Apply(y + b * m.rows + first, end - first);
  });
}

int GatherRows(const PackedTable& table, const int64_t* ids, size_t count, float* y,
               const Parallel& parallel) {
  const auto rows = static_cast<int64_t>(table.rows);
  const bool inside = std::all_of(ids, ids + count, [&](int64_t id) { return id >= -rows && id < rows; });
  if (!inside) return OSQ_POSITION;
  const Kernels& kernels = ActiveKernels();
  alignas(64) float codebook[256] = {};
  std::copy_n(table.codebook, table.entries, codebook);
  std::atomic<int> status{OSQ_OK};
  parallel(count, [&](size_t task) {
    constexpr size_t kBlock = 1024;
    const auto row = static_cast<size_t>(ids[task] < 0 ? ids[task] + rows : ids[task]);
    const size_t begin = row * table.columns, end = begin + table.columns;
    float* out = y + task * table.columns;
    for (size_t first = begin / 8 * 8; first < end; first += kBlock) {
      uint8_t block[kBlock + 2 * kPadding] = {};
      table.indices.Read(kernels, first, std::min(kBlock, end - first), false, block);
      const size_t from = std::max(begin, first), n = std::min(first + kBlock, end) - from;
      const uint8_t* const indices = block + (from - first);
      if (*std::max_element(indices, indices + n) >= table.entries) status = OSQ_INDEX;
      kernels.lookup(indices, n, codebook, table.entries, out);
      for (size_t i = 0; i < n; ++i) {
        if (table.row_scale != nullptr) out[i] *= table.row_scale[row];
        if (table.column_scale != nullptr) out[i] *= table.column_scale[from - begin + i];
      }
      out += n;
    }
  });
  return status;
}

}  // namespace osq
