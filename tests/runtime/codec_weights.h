// Tests of what turns indices into weights (FORMAT 4), and of what finds codebooks.
#ifndef ONNXSQUEEZE_TESTS_CODEC_WEIGHTS_H_
#define ONNXSQUEEZE_TESTS_CODEC_WEIGHTS_H_

#include <cmath>
#include <cstring>
#include <limits>

#include "codec.h"
#include "codec_random.h"

using Floats = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline float RandomFloat(Random* random) {
  const float odd[] = {0.0f,  -0.0f,  65504.0f, 65519.996f, 65520.0f,  6e-8f,
                       3e-8f, 1e-40f, 3e38f,    kInfinity,  -kInfinity};
  if (random->Chance(20)) return odd[random->Below(11)];
  const float value = static_cast<float>(random->Below(1 << 24)) * 0x1p-23f - 1;
  return std::ldexp(value, static_cast<int>(random->Between(0, 44)) - 26);
}

inline Floats RandomFloats(Random* random, size_t count) {
  Floats values(count);
  for (float& value : values) value = RandomFloat(random);
  return values;
}

template <typename T>
bool SameBits(const T& left, const T& right) {
  return std::memcmp(&left, &right, sizeof(T)) == 0;
}

inline double FromHalf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 31) size = std::numeric_limits<double>::infinity();
  return half >> 15 ? -size : size;
}

// `value` as float16, to nearest, ties to even; not for NaN.
inline double RoundToHalf(float value) {
  if (value == 0 || std::isinf(value)) return value;
  const int exponent = std::max(std::ilogb(value), -14);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(double{value}, 10 - exponent)), exponent - 10);
  return std::fabs(rounded) > 65504 ? std::copysign(std::numeric_limits<double>::infinity(), rounded)
                                    : rounded;
}

struct Scale {
  Floats table;
  Bytes codes;
  size_t outer, inner;

  osq_scale View() const { return {table.data(), table.size(), codes.data(), outer, codes.size(), inner}; }
  float At(size_t i) const { return table[codes[i / inner % codes.size()]]; }
};

// Checks the output for every type of `values` (already looked up), given a call that makes it.
template <typename Call>
void ExpectConverted(const Floats& values, const Scale* scale, Call call) {
  const size_t count = values.size();
  const Exact<float> floats(count);
  const Exact<uint16_t> halves(count);
  const Exact<double> doubles(count);
  CHECK(call(OSQ_FLOAT, floats.data()) == OSQ_OK && call(OSQ_FLOAT16, halves.data()) == OSQ_OK);
  CHECK(call(OSQ_DOUBLE, doubles.data()) == OSQ_OK && call(7, floats.data()) == OSQ_BAD_ARGUMENT);
  CHECK(call(OSQ_FLOAT, floats.data()) == OSQ_OK);
  for (size_t i = 0; i < count; ++i) {
    const float value = scale != nullptr ? values[i] * scale->At(i) : values[i];
    CHECK(SameBits(floats.data()[i], value));
    CHECK(SameBits(doubles.data()[i], double{value}));
    CHECK(SameBits(FromHalf(halves.data()[i]), RoundToHalf(value)));
  }
}

inline void TestLookup(Random* random) {
  const size_t entries = random->Between(1, 256);
  const Floats codebook = RandomFloats(random, entries);
  Scale scale{
      {}, random->BytesBelow(random->Between(1, 40), 9), random->Between(1, 5), random->Between(1, 400)};
  for (int i = 0; i < 9; ++i)
    scale.table.push_back(std::ldexp(1.0f, static_cast<int>(random->Below(6))) * 1.3f);
  if (random->Chance(3)) scale.inner = 1, scale.outer = random->Between(1, 200);
  const size_t count = scale.outer * scale.inner * scale.codes.size();
  const Bytes indices = random->BytesBelow(count, entries);
  const Exact<uint8_t> exact(indices);
  const Exact<float> book(codebook);
  Floats values;
  for (const uint8_t index : indices) values.push_back(codebook[index]);
  osq_scale view = scale.View();
  for (const osq_scale* used :
       {static_cast<const osq_scale*>(nullptr), static_cast<const osq_scale*>(&view)}) {
    ExpectConverted(values, used != nullptr ? &scale : nullptr, [&](int type, void* out) {
      return osq_lookup(exact.data(), count, book.data(), entries, used, type, out);
    });
    ExpectConverted(values, used != nullptr ? &scale : nullptr,
                    [&](int type, void* out) { return osq_rescale(values.data(), count, used, type, out); });
  }
  const Exact<float> out(count);
  const auto status = [&] {
    return osq_lookup(exact.data(), count, book.data(), entries, &view, OSQ_FLOAT, out.data());
  };
  exact.data()[random->Below(count)] = static_cast<uint8_t>(entries);
  if (entries < 256) CHECK(status() == OSQ_INDEX);
  scale.codes[0] = 9;
  CHECK(status() == OSQ_SCALE_CODE);
  const float bad[] = {0, -1, kInfinity, std::numeric_limits<float>::quiet_NaN()};
  scale.table[random->Below(9)] = bad[random->Below(4)];
  CHECK(status() == OSQ_SCALE_VALUE);
  view.outer = random->Chance(2) ? view.outer + 1 : SIZE_MAX / 2;
  CHECK(status() == OSQ_BAD_ARGUMENT);
}

template <typename Item>
void TestGaps(Random* random) {
  const size_t entries = random->Between(1, 2000), longest = random->Between(1, 256);
  Bytes distances = random->BytesBelow(entries, longest);
  for (size_t i = 1; i < entries; ++i)
    distances[i] = std::max<uint8_t>(distances[i], random->Chance(20000) ? 0 : 1);
  std::vector<Item> values(entries);
  for (Item& value : values) value = static_cast<Item>(random->Next());
  const size_t last = std::accumulate(distances.begin(), distances.end(), size_t{0});
  const size_t total = random->Chance(5) ? last : last + random->Between(1, 40000);
  const bool zero = std::count(distances.begin() + 1, distances.end(), 0) > 0;
  const Exact<uint8_t> steps(distances);
  const Exact<Item> items(values), out(total);
  const int status = osq_scatter_gaps(steps.data(), items.data(), entries, sizeof(Item), total, out.data());
  CHECK((status == OSQ_OK) == (last < total && !zero));
  if (status != OSQ_OK) return;
  std::vector<Item> expected(total);
  size_t position = 0;
  for (size_t i = 0; i < entries; ++i) expected[position += distances[i]] = values[i];
  CHECK(out.vector() == expected);
}

template <typename Item>
void TestNm(Random* random) {
  const size_t size = random->Between(2, random->Chance(2) ? 8 : 256), kept = random->Between(1, size - 1);
  const size_t rows = random->Between(1, 200);
  Bytes positions;
  for (size_t row = 0; row < rows; ++row) {
    Bytes all(size);
    std::iota(all.begin(), all.end(), uint8_t{0});
    for (size_t i = 0; i < kept; ++i) std::swap(all[i], all[random->Between(i, size - 1)]);
    std::sort(all.begin(), all.begin() + kept);
    positions.insert(positions.end(), all.begin(), all.begin() + kept);
  }
  if (random->Chance(3))
    positions[random->Below(positions.size())] = static_cast<uint8_t>(random->Below(256));
  std::vector<Item> values(rows * kept), expected(rows * size);
  for (Item& value : values) value = static_cast<Item>(random->Next());
  bool good = true;
  for (size_t i = 0; i < positions.size(); ++i) {
    good = good && positions[i] < size && (i % kept == 0 || positions[i] > positions[i - 1]);
    if (good) expected[i / kept * size + positions[i]] = values[i];
  }
  const Exact<uint8_t> places(positions);
  const Exact<Item> items(values), out(rows * size);
  const int status = osq_scatter_nm(places.data(), items.data(), rows, size, kept, sizeof(Item), out.data());
  CHECK((status == OSQ_OK) == good);
  if (good) CHECK(out.vector() == expected);
}

inline void TestAssign(Random* random) {
  const bool even = random->Chance(2);  // values spread evenly, and enough of them for tables to pay
  const size_t count = even ? random->Between(4000, 9000) : random->Between(0, 3000);
  Floats bounds(random->Between(0, random->Chance(2) ? 20 : 255)), values(count);
  const auto next = [&] {
    return even ? static_cast<float>(random->Below(1 << 20)) * 0x1p-20f - 0.3f : RandomFloat(random);
  };
  std::generate(bounds.begin(), bounds.end(), next);
  std::generate(values.begin(), values.end(), next);
  std::sort(bounds.begin(), bounds.end());
  for (float& value : values) {
    if (bounds.empty() || !random->Chance(4)) continue;
    const float near[] = {-kInfinity, value, kInfinity};
    value = bounds[random->Below(bounds.size())];
    value = std::nextafter(value, near[random->Below(3)]);
    if (random->Chance(100)) value = near[random->Below(3)];
  }
  const Exact<float> from(values), edges(bounds);
  const Exact<uint8_t> out(count);
  CHECK(osq_assign(from.data(), count, edges.data(), bounds.size(), 2, out.data()) == OSQ_OK);
  for (size_t i = 0; i < count; ++i) {
    const auto end = std::upper_bound(bounds.begin(), bounds.end(), values[i]);
    CHECK(out.data()[i] == end - bounds.begin());
  }
}

inline void TestHistogram(Random* random) {
  Floats values = RandomFloats(random, random->Between(1, 5000));
  const size_t bins = random->Between(1, 300);
  const double low = -std::ldexp(1.0, static_cast<int>(random->Below(8)) - 4), high = low + 2;
  for (float& value : values) value = std::isinf(value) ? 1 : value;
  std::vector<uint64_t> expected(bins);
  std::vector<double> expected_sums(bins);
  for (const float value : values) {
    const double at = std::floor((double{value} - low) * (static_cast<double>(bins) / (high - low)));
    const auto bin = static_cast<size_t>(std::clamp(at, 0.0, static_cast<double>(bins - 1)));
    ++expected[bin];
    expected_sums[bin] += value;
  }
  const Exact<float> from(values);
  const Exact<uint64_t> counts(bins);
  const Exact<double> sums(bins);
  CHECK(osq_histogram(from.data(), values.size(), low, high, bins, 2, counts.data(), sums.data()) == OSQ_OK);
  CHECK(counts.vector() == expected && sums.vector() == expected_sums);
  osq_stats stats;
  CHECK(osq_get_stats(from.data(), values.size(), &stats) == OSQ_OK && stats.finite == 1);
  CHECK(stats.min == *std::min_element(values.begin(), values.end()));
  CHECK(stats.max == *std::max_element(values.begin(), values.end()));
  CHECK(stats.zeros == static_cast<uint64_t>(std::count(values.begin(), values.end(), 0.0f)));
  const float odd[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  from.data()[random->Below(values.size())] = odd[random->Below(3)];
  CHECK(osq_get_stats(from.data(), values.size(), &stats) == OSQ_OK && stats.finite == 0);
}

inline void TestWeights(Random* random) {
  TestLookup(random);
  TestGaps<uint16_t>(random);
  TestGaps<uint32_t>(random);
  TestGaps<uint64_t>(random);
  TestNm<uint16_t>(random);
  TestNm<uint32_t>(random);
  TestNm<uint64_t>(random);
  TestAssign(random);
  TestHistogram(random);
}

#endif  // ONNXSQUEEZE_TESTS_CODEC_WEIGHTS_H_
