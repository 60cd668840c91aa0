// Products with shared weights, and rows of packed embeddings, against their definition in double.
//
//   shared_test [rounds [seed]]    Exits with 0 where all is well.
//   ONNXSQUEEZE_ISA picks the instruction set.
#include "shared.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "codec.h"
#include "codec_random.h"

namespace {

using namespace osq;
using Floats = std::vector<float>;

// Sums of n products of numbers below 1 in float32 are off by less than this, times n.
constexpr double kBound = 2e-7;

Floats Numbers(Random* random, size_t count) {
  Floats values(count);
  for (float& value : values) value = static_cast<float>(random->Below(1 << 20)) * 0x1p-19f - 1;
  return values;
}

void Backwards(size_t tasks, const std::function<void(size_t)>& body) {
  for (size_t task = tasks; task-- > 0;) body(task);
}

void Forwards(size_t tasks, const std::function<void(size_t)>& body) {
  for (size_t task = 0; task < tasks; ++task) body(task);
}

void TestLinear(Random* random) {
  const size_t rows = random->Between(1, 150), columns = random->Between(1, random->Chance(4) ? 2000 : 200);
  const size_t entries = random->Between(1, size_t{1} << random->Between(0, 8)), batch = random->Below(20);
  const bool transposed = random->Chance(2);
  const Floats codebook = Numbers(random, entries), x = Numbers(random, batch * columns);
  const Bytes indices = random->BytesBelow(rows * columns, entries);
  const Floats by_row = Numbers(random, rows), by_column = Numbers(random, columns);
  const SharedMatrix matrix = {indices.data(),
                               rows,
                               columns,
                               transposed ? 1 : columns,
                               transposed ? rows : 1,
                               codebook.data(),
                               entries,
                               random->Chance(2) ? by_row.data() : nullptr,
                               random->Chance(2) ? by_column.data() : nullptr};
  Epilogue epilogue;
  if (random->Chance(2)) epilogue.bias = Numbers(random, rows);
  if (random->Chance(2)) epilogue.activation = Activation::kRelu;
  SharedRows packed;
  CHECK(PackShared(matrix, &packed) == OSQ_OK);
  const Exact<float> in(x), out(batch * rows), again(batch * rows);
  SharedLinear(packed, in.data(), batch, epilogue, out.data(), Forwards);
  SharedLinear(packed, in.data(), batch, epilogue, again.data(), Backwards);
  CHECK(std::equal(out.data(), out.data() + batch * rows, again.data()));
  for (size_t b = 0; b < batch; ++b) {
    for (size_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (size_t c = 0; c < columns; ++c) {
        const double value = codebook[indices[r * matrix.row_stride + c * matrix.column_stride]];
        sum += value * (matrix.column_scale ? by_column[c] : 1.0f) * x[b * columns + c];
      }
      sum = sum * (matrix.row_scale ? by_row[r] : 1.0f) + epilogue.BiasOf(r);
      if (epilogue.activation == Activation::kRelu) sum = std::max(sum, 0.0);
      const double allowed = kBound * static_cast<double>(columns + 8) * (1 + std::fabs(sum));
      CHECK(std::fabs(out.data()[b * rows + r] - sum) <= allowed);
    }
  }
}

void TestIndicesAreChecked(Random* random) {
  Bytes indices = random->BytesBelow(60, 5);
  const Floats codebook = Numbers(random, 5);
  SharedMatrix matrix = {indices.data(), 6, 10, 10, 1, codebook.data(), 5, nullptr, nullptr};
  SharedRows packed;
  CHECK(PackShared(matrix, &packed) == OSQ_OK);
  indices[random->Below(60)] = 5;
  CHECK(PackShared(matrix, &packed) == OSQ_INDEX);
  matrix.entries = 257;
  CHECK(PackShared(matrix, &packed) == OSQ_BAD_ARGUMENT);
}

void TestGather(Random* random) {
  const int bits = static_cast<int>(random->Between(1, 8));
  const size_t rows = random->Between(1, 300), columns = random->Between(1, random->Chance(4) ? 3000 : 60);
  const size_t entries = random->Between(1, size_t{1} << bits), count = rows * columns,
               width = (count + 7) / 8;
  const Bytes indices = random->BytesBelow(count, entries);
  const Floats codebook = Numbers(random, entries), by_row = Numbers(random, rows),
               by_column = Numbers(random, columns);
  Bytes payload(width * static_cast<size_t>(bits));
  CHECK(osq_pack(indices.data(), count, bits, payload.data(), payload.size()) == OSQ_OK);
  const Exact<uint8_t> stored(payload);
  std::vector<int64_t> sizes;
  const Planes planes = PlanesOf(bits);
  for (int i = 0; i < planes.count; ++i) sizes.push_back(planes.widths[i] * static_cast<int64_t>(width));
  PackedTable table;
  CHECK(table.indices.Open(stored.data(), sizes.data(), bits, count) == OSQ_OK);
  table.rows = rows;
  table.columns = columns;
  table.codebook = codebook.data();
  table.entries = entries;
  if (random->Chance(2)) table.row_scale = by_row.data();
  if (random->Chance(2)) table.column_scale = by_column.data();
  const auto high = static_cast<int64_t>(rows);
  std::vector<int64_t> ids(random->Below(30));
  for (int64_t& id : ids) id = static_cast<int64_t>(random->Below(2 * rows)) - high;
  const Exact<float> out(ids.size() * columns);
  CHECK(GatherRows(table, ids.data(), ids.size(), out.data(), Backwards) == OSQ_OK);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto row = static_cast<size_t>(ids[i] < 0 ? ids[i] + high : ids[i]);
    for (size_t c = 0; c < columns; ++c) {
      float value = codebook[indices[row * columns + c]];
      if (table.row_scale) value *= by_row[row];
      if (table.column_scale) value *= by_column[c];
      CHECK(out.data()[i * columns + c] == value);
    }
  }
  ids.push_back(random->Chance(2) ? high : -high - 1);
  Floats more(ids.size() * columns);
  CHECK(GatherRows(table, ids.data(), ids.size(), more.data(), Forwards) == OSQ_POSITION);
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 150;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestLinear(&random);
    TestIndicesAreChecked(&random);
    TestGather(&random);
  }
  std::printf("shared_test: %ld rounds pass on %s\n", rounds, osq_isa());
  return 0;
}
