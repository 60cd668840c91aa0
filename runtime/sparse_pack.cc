// Layouts of sparse matrices.
#include <algorithm>
#include <numeric>

#include "panels.h"

namespace osq {
namespace {

constexpr size_t kSliceChunk = 256, kColumnChunk = 1024;  // rows

// Compressed sparse rows: row r has values[indptr[r]] ... values[indptr[r + 1] - 1], at columns `indices`,
// increasing.
struct CsrMatrix {
  const float* values;
  const uint32_t* indices;
  const uint64_t* indptr;  // rows + 1
  size_t rows, columns, entries;
};

// Numbers of some rows, the shortest first.
std::vector<uint32_t> ByLength(size_t rows, const std::function<size_t(size_t)>& length) {
  std::vector<uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return length(a) < length(b); });
  return order;
}

void PackChunk(const CsrMatrix& m, PanelRows::Chunk* chunk, PanelRows* packed) {
  std::vector<uint64_t> at(m.indptr + chunk->first, m.indptr + chunk->first + chunk->rows), end(at);
  for (size_t first = 0; first < m.columns || first == 0; first += packed->block) {
    for (size_t r = 0; r < chunk->rows; ++r) {
      const auto from = m.indices + at[r], to = m.indices + m.indptr[chunk->first + r + 1];
      end[r] = at[r] + static_cast<uint64_t>(std::lower_bound(from, to, first + packed->block) - from);
    }
    chunk->begins.push_back(packed->values.size());
    for (const uint32_t r : ByLength(chunk->rows, [&](size_t row) { return end[row] - at[row]; })) {
      packed->runs.push_back({static_cast<uint16_t>(r), static_cast<uint16_t>(end[r] - at[r])});
      packed->values.insert(packed->values.end(), m.values + at[r], m.values + end[r]);
      for (; at[r] < end[r]; ++at[r]) {
        packed->index.push_back(static_cast<uint8_t>(m.indices[at[r]] - first));
      }
    }
  }
  chunk->begins.push_back(packed->values.size());
}

PanelRows PackPanels(const CsrMatrix& m, const Purpose& purpose) {
  PanelRows packed;
  const Shape shape = purpose.use == Use::kConvolution ? kConvolutionShape : kLinearShape;
  packed.block = shape.block;
  packed.vectors = shape.vectors;
  packed.values.reserve(m.entries);
  packed.index.reserve(m.entries);
  const size_t group = m.rows / std::max<size_t>(1, purpose.groups);
  for (size_t row = 0; row < m.rows;) {
    const size_t end = group == 0 ? m.rows : (row / group + 1) * group;
    PanelRows::Chunk chunk{row, std::min(shape.rows, end - row), {}};
    PackChunk(m, &chunk, &packed);
    row += chunk.rows;
    packed.chunks.push_back(std::move(chunk));
  }
  packed.runs.shrink_to_fit();
  return packed;
}

// One row as it lies in a slice: steps of at most 255 columns.
struct Steps {
  std::vector<uint8_t> distance;
  std::vector<float> values;

  Steps(const CsrMatrix& m, size_t row) {
    uint32_t at = 0;
    for (uint64_t i = m.indptr[row]; i < m.indptr[row + 1]; ++i) {
      for (; m.indices[i] - at > 255; at += 255) Add(255, 0);
      Add(m.indices[i] - at, m.values[i]);
      at = m.indices[i];
    }
  }

  void Add(uint32_t by, float value) {
    distance.push_back(static_cast<uint8_t>(by));
    values.push_back(value);
  }
};

SliceRows PackSlices(const CsrMatrix& m) {
  SliceRows packed;
  for (size_t first = 0; first < m.rows; first += kSliceChunk) {
    const size_t count = std::min(kSliceChunk, m.rows - first);
    std::vector<Steps> rows;
    for (size_t r = 0; r < count; ++r) rows.emplace_back(m, first + r);
    const auto order = ByLength(count, [&](size_t r) { return rows[r].values.size(); });
    for (size_t slice = 0; slice < count; slice += 16) {
      const size_t lanes = std::min<size_t>(16, count - slice);
      const size_t steps = rows[order[slice + lanes - 1]].values.size(), begin = packed.values.size();
      packed.slices.push_back({{}, begin, steps});
      packed.values.resize(begin + 16 * steps);
      packed.distance.resize(begin + 16 * steps);
      for (size_t lane = 0; lane < 16; ++lane) {
        packed.slices.back().row[lane] = SliceRows::kNoRow;
        if (lane >= lanes) continue;
        const Steps& row = rows[order[slice + lane]];
        packed.slices.back().row[lane] = static_cast<uint32_t>(first + order[slice + lane]);
        for (size_t i = 0; i < row.values.size(); ++i) {
          packed.values[begin + 16 * i + lane] = row.values[i];
          packed.distance[begin + 16 * i + lane] = row.distance[i];
        }
      }
    }
  }
  return packed;
}

ColumnRows PackColumns(const CsrMatrix& m) {
  ColumnRows packed;
  packed.values.resize(m.entries);
  packed.row.resize(m.entries);
  for (size_t first = 0; first < m.rows; first += kColumnChunk) {
    ColumnRows::Chunk chunk{first, std::min(kColumnChunk, m.rows - first), {}};
    const uint64_t begin = m.indptr[first], end = m.indptr[first + chunk.rows];
    std::vector<size_t> at(m.columns + 1, 0);
    for (uint64_t i = begin; i < end; ++i) ++at[m.indices[i] + 1];
    at[0] = begin;
    std::partial_sum(at.begin(), at.end(), at.begin());
    chunk.begins = at;
    for (size_t r = 0; r < chunk.rows; ++r) {
      for (uint64_t i = m.indptr[first + r]; i < m.indptr[first + r + 1]; ++i) {
        const size_t to = at[m.indices[i]]++;
        packed.row[to] = static_cast<uint16_t>(r);
        packed.values[to] = m.values[i];
      }
    }
    packed.chunks.push_back(std::move(chunk));
  }
  return packed;
}

// The nonzeros of a dense matrix.
struct Nonzeros {
  std::vector<float> values;
  std::vector<uint32_t> indices;
  std::vector<uint64_t> indptr = {0};

  explicit Nonzeros(const DenseMatrix& m) {
    constexpr size_t kTogether = 64;  // rows, so that columns side by side are read together
    std::vector<float> tile(kTogether * m.columns);
    for (size_t first = 0; first < m.rows; first += kTogether) {
      const size_t count = std::min(kTogether, m.rows - first);
      const float* const from = m.values + first * m.row_stride;
      if (m.column_stride == 1) {
        for (size_t r = 0; r < count; ++r) Add(from + r * m.row_stride, m.columns);
        continue;
      }
      for (size_t c = 0; c < m.columns; ++c) {
        for (size_t r = 0; r < count; ++r) {
          tile[r * m.columns + c] = from[r * m.row_stride + c * m.column_stride];
        }
      }
      for (size_t r = 0; r < count; ++r) Add(tile.data() + r * m.columns, m.columns);
    }
  }

  void Add(const float* row, size_t columns) {
    for (size_t c = 0; c < columns; ++c) {
      if (row[c] == 0) continue;
      values.push_back(row[c]);
      indices.push_back(static_cast<uint32_t>(c));
    }
    indptr.push_back(values.size());
  }
};

SparseRows Pack(const CsrMatrix& matrix, const Purpose& purpose) {
  SparseRows packed;
  packed.rows = matrix.rows;
  packed.columns = matrix.columns;
  packed.entries = matrix.entries;
  packed.use = purpose.use;
  if (purpose.use == Use::kVector) {
    packed.slices = PackSlices(matrix);
  } else if (purpose.use == Use::kVectorZeros) {
    packed.by_column = PackColumns(matrix);
  } else {
    packed.panels = PackPanels(matrix, purpose);
  }
  return packed;
}

template <typename List>
size_t BytesOf(const List& list) {
  return list.size() * sizeof(list[0]);
}

}  // namespace

size_t SparseRows::bytes() const {
  size_t sum = BytesOf(panels.runs) + BytesOf(panels.index) + BytesOf(panels.values) +
               BytesOf(slices.slices) + BytesOf(slices.distance) + BytesOf(slices.values) +
               BytesOf(by_column.row) + BytesOf(by_column.values);
  for (const auto& chunk : panels.chunks) sum += sizeof(chunk) + BytesOf(chunk.begins);
  for (const auto& chunk : by_column.chunks) sum += sizeof(chunk) + BytesOf(chunk.begins);
  return sum;
}

SparseRows PackRows(const DenseMatrix& matrix, const Purpose& purpose) {
  const Nonzeros found(matrix);
  return Pack({found.values.data(), found.indices.data(), found.indptr.data(), matrix.rows, matrix.columns,
               found.values.size()},
              purpose);
}

}  // namespace osq
