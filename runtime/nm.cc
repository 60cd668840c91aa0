#include "nm.h"

#include <algorithm>
#include <cstring>

namespace osq {
namespace {

constexpr size_t kTaskValues = 1 << 16;  // that are worth a task
constexpr double kMostFill = 1.4;        // slots for each value that is not zero

// Sixteen rows of a matrix, side by side as they come: row r at r * stride; absent ones and columns past the
// end are zero.
class Sixteen {
 public:
  Sixteen(const DenseMatrix& m, size_t stride) : m_(m), stride_(stride), rows_(16 * stride, 0.0f) {}

  const float* row(size_t r) const { return rows_.data() + r * stride_; }

  void Read(size_t first) {
    const size_t count = std::min<size_t>(16, m_.rows - first);
    const float* const from = m_.values + first * m_.row_stride;
    std::fill(rows_.begin() + static_cast<ptrdiff_t>(count * stride_), rows_.end(), 0.0f);
    for (size_t r = 0; r < count && m_.column_stride == 1; ++r) {
      std::copy_n(from + r * m_.row_stride, m_.columns, rows_.data() + r * stride_);
    }
    for (size_t c = 0; c < m_.columns && m_.column_stride != 1; ++c) {
      for (size_t r = 0; r < count; ++r)
        rows_[r * stride_ + c] = from[r * m_.row_stride + c * m_.column_stride];
    }
  }

 private:
  const DenseMatrix& m_;
  size_t stride_;
  std::vector<float> rows_;
};

// The most nonzeros of a group of 4, 8 and 16 columns, and of the whole matrix.
struct Census {
  size_t most[3] = {}, nonzeros = 0;

  bool IsNm() const { return most[0] <= 2 || most[1] <= 4 || most[2] <= 8; }

  void Add(const float* row, size_t columns) {  // a multiple of 16
    for (size_t c = 0; c < columns; c += 16) {
      size_t of[4], total = 0;
      for (size_t q = 0; q < 4; ++q) {
        of[q] = 0;
        for (size_t i = 0; i < 4; ++i) of[q] += row[c + 4 * q + i] != 0;
        most[0] = std::max(most[0], of[q]);
        total += of[q];
      }
      most[1] = std::max({most[1], of[0] + of[1], of[2] + of[3]});
      most[2] = std::max(most[2], total);
      nonzeros += total;
    }
  }
};

size_t PowerOf2(size_t least) {
  size_t power = 1;
  while (power < least) power *= 2;
  return power;
}

size_t Log2(size_t power) {
  size_t log = 0;
  while (power >> (log + 1) != 0) ++log;
  return log;
}

// Picks the group with the fewest slots, the narrowest of equals; returns false where none will do.
bool PickGroup(const Census& census, NmRows* packed) {
  double best = 1;
  for (int bits = 2; bits <= 4; ++bits) {
    const size_t kept = PowerOf2(census.most[bits - 2]);
    const double share = static_cast<double>(kept) / static_cast<double>(size_t{1} << bits);
    if (share > 0.5 || share >= best) continue;
    best = share;
    packed->bits = bits;
    packed->kept = kept;
  }
  const double slots = best * static_cast<double>(packed->rows) * static_cast<double>(packed->columns);
  return best < 1 && slots <= kMostFill * static_cast<double>(census.nonzeros);
}

// Writes one lane of a slice.
void PackLane(const NmRows& packed, const float* row, size_t lane, float* out) {
  const size_t slots = NmBlock::SlotsOf(packed.bits), group = size_t{1} << packed.bits;
  for (size_t step = 0; step < packed.steps; ++step, out += (1 + slots) * 16) {
    uint32_t word = 0;
    for (size_t first = 0; first < slots; first += packed.kept, row += group) {
      size_t slot = first;
      for (size_t i = 0; i < group; ++i) {
        if (row[i] == 0) continue;
        word |= static_cast<uint32_t>(i) << (slot * static_cast<size_t>(packed.bits));
        out[(1 + slot++) * 16 + lane] = row[i];
      }
      for (; slot < first + packed.kept; ++slot) out[(1 + slot) * 16 + lane] = 0;
    }
    std::memcpy(out + lane, &word, sizeof(word));
  }
}

}  // namespace

bool PackNm(const DenseMatrix& m, NmRows* packed) {
  NmRows result;
  result.rows = m.rows;
  result.columns = m.columns;
  if (m.rows == 0 || m.columns == 0) return false;
  Sixteen rows(m, Ceil(m.columns, 128) * 128);
  Census census;
  for (size_t first = 0; first < m.rows; first += 16) {
    rows.Read(first);
    for (size_t r = 0; r < 16; ++r) census.Add(rows.row(r), Ceil(m.columns, 16) * 16);
    if (!census.IsNm()) return false;
  }
  if (!PickGroup(census, &result)) return false;
  result.steps = Ceil(m.columns, result.step_columns());
  const size_t slices = Ceil(m.rows, 16);
  result.memory = Floats(static_cast<float*>(AllocatePages((slices * result.slice() + 16) * sizeof(float))));
  for (size_t slice = 0; slice < slices; ++slice) {
    rows.Read(slice * 16);
    for (size_t r = 0; r < 16; ++r)
      PackLane(result, rows.row(r), r, result.memory.get() + slice * result.slice());
  }
  *packed = std::move(result);
  return true;
}

namespace {

// Vectors as the kernels take them: some of them group by group, filled up with zeros to whole steps. As they
// are where that changes nothing.
class Gathered {
 public:
  Gathered(const NmRows& m, const float* x, size_t batch) : x_(x), pitch_(m.steps * m.step_columns()) {
    if (batch == 1 && pitch_ == m.columns) return;
    copy_ = Allocate(batch * pitch_);
    x_ = copy_.get();
    const size_t group = size_t{1} << m.bits;
    for (size_t b = 0, n; b < batch; b += n) {
      n = Together(batch - b);
      for (size_t i = 0; i < n; ++i) {
        const float* from = x + (b + i) * m.columns;
        float* out = copy_.get() + b * pitch_ + i * group;
        for (size_t c = 0; c < pitch_; c += group, out += n * group) {
          const size_t there = c < m.columns ? std::min(group, m.columns - c) : 0;
          std::copy_n(from + c, there, out);
          std::fill_n(out + there, group - there, 0.0f);
        }
      }
    }
  }

  // How many of `left` vectors are taken at once.
  static size_t Together(size_t left) {
    size_t n = ActiveProductKernels().nm_batch;
    while (n > left) n /= 2;
    return n;
  }

  const float* vectors(size_t b) const { return x_ + b * pitch_; }

 private:
  Floats copy_;
  const float* x_;
  size_t pitch_;
};

}  // namespace

void NmLinear(const NmRows& m, const float* x, size_t batch, const Epilogue& epilogue, float* y,
              const Parallel& parallel) {
  if (batch == 0) return;
  const ProductKernels& kernels = ActiveProductKernels();
  const Gathered gathered(m, x, batch);
  const size_t slices = Ceil(m.rows, 16);
  const size_t together = std::clamp<size_t>(kTaskValues / m.slice() / batch, 1, slices);
  parallel(Ceil(slices, together), [&](size_t task) {
    const size_t begin = task * together, end = std::min(slices, begin + together);
    for (size_t slice = begin; slice < end; ++slice) {
      const size_t first = slice * 16, rows = std::min<size_t>(16, m.rows - first);
      NmBlock block{m.memory.get() + slice * m.slice(), m.steps, nullptr, Log2(m.kept)};
      for (size_t b = 0, n; b < batch; b += n) {
        alignas(64) float sums[16 * 16];
        n = Gathered::Together(batch - b);
        block.x = gathered.vectors(b);
        kernels.multiply_nm(block, m.bits, n, sums);
        for (size_t i = 0; i < n; ++i) {
          float* const out = y + (b + i) * m.rows + first;
          for (size_t r = 0; r < rows; ++r) out[r] = sums[16 * i + r] + epilogue.BiasOf(first + r);
        }
      }
    }
    const size_t first = begin * 16, rows = std::min(m.rows, end * 16) - first;
    for (size_t b = 0; b < batch; ++b) epilogue.Apply(y + b * m.rows + first, rows);
  });
}

}  // namespace osq
