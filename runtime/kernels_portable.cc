// Plain C++, for any machine.
#include <cmath>

#include "kernels.h"

namespace osq {
namespace {

size_t CountOnes(const uint8_t* bits, size_t first, size_t n) {
  size_t ones = 0;
  size_t i = 0;
  for (; i + 64 <= n; i += 64) ones += __builtin_popcountll(LoadWord(bits, first + i));
  return ones + __builtin_popcountll(LoadBits(bits, first + i, n - i));
}

template <bool kZeroLeaf, bool kOneLeaf>
void MergeAs(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  const uint8_t* z = kZeroLeaf ? &zero.leaf : zero.values;
  const uint8_t* o = kOneLeaf ? &one.leaf : one.values;
  for (size_t i = 0; i < n; i += 64) {
    const size_t run = n - i < 64 ? n - i : 64;
    uint64_t word = run == 64 ? LoadWord(bits, first + i) : LoadBits(bits, first + i, run);
    for (size_t j = 0; j < run; ++j, word >>= 1) {
      const size_t bit = word & 1;
      const uint8_t mask = static_cast<uint8_t>(0 - bit);
      out[i + j] = static_cast<uint8_t>((*o & mask) | (*z & ~mask));
      if (!kOneLeaf) o += bit;
      if (!kZeroLeaf) z += 1 - bit;
    }
  }
}

void Merge(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  const auto merge = zero.values == nullptr
                         ? (one.values == nullptr ? MergeAs<true, true> : MergeAs<true, false>)
                         : (one.values == nullptr ? MergeAs<false, true> : MergeAs<false, false>);
  merge(bits, first, n, zero, one, out);
}

void Translate(const uint8_t* in, size_t n, const uint8_t* table, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

size_t Split(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero, uint8_t* one) {
  uint8_t unwanted_zero[1], unwanted_one[1];
  uint8_t* const z = zero != nullptr ? zero : unwanted_zero;
  uint8_t* const o = one != nullptr ? one : unwanted_one;
  const size_t keep_zero = zero != nullptr, keep_one = one != nullptr;
  size_t ones = 0;
  for (size_t i = 0; i < n; i += 64) {
    const size_t run = n - i < 64 ? n - i : 64;
    uint64_t word = 0;
    for (size_t j = 0; j < run; ++j) {
      const uint64_t bit = labels[i + j] >= pivot;
      z[(i + j - ones) * keep_zero] = labels[i + j];
      o[ones * keep_one] = labels[i + j];
      word |= bit << j;
      ones += bit;
    }
    bits->Append(word, static_cast<unsigned>(run));
  }
  return ones;
}

// 8 fields of kWidth bits <-> 8 bytes, by shifting halves apart (or together).
template <int kWidth>
uint64_t Apart(uint64_t x) {
  if (kWidth == 8) return x;
  if (kWidth == 4) x = (x | x << 16) & 0x0000FFFF0000FFFF;
  if (kWidth == 4) x = (x | x << 8) & 0x00FF00FF00FF00FF;
  if (kWidth == 4) return (x | x << 4) & 0x0F0F0F0F0F0F0F0F;
  if (kWidth == 2) x = (x | x << 24) & 0x000000FF000000FF;
  if (kWidth == 2) x = (x | x << 12) & 0x000F000F000F000F;
  if (kWidth == 2) return (x | x << 6) & 0x0303030303030303;
  x = (x | x << 28) & 0x0000000F0000000F;
  x = (x | x << 14) & 0x0003000300030003;
  return (x | x << 7) & 0x0101010101010101;
}

template <int kWidth>
uint64_t Together(uint64_t x) {
  if (kWidth == 8) return x;
  if (kWidth == 4) x &= 0x0F0F0F0F0F0F0F0F;
  if (kWidth == 4) x = (x | x >> 4) & 0x00FF00FF00FF00FF;
  if (kWidth == 4) x = (x | x >> 8) & 0x0000FFFF0000FFFF;
  if (kWidth == 4) return (x | x >> 16) & 0xFFFFFFFF;
  if (kWidth == 2) x &= 0x0303030303030303;
  if (kWidth == 2) x = (x | x >> 6) & 0x000F000F000F000F;
  if (kWidth == 2) x = (x | x >> 12) & 0x000000FF000000FF;
  if (kWidth == 2) return (x | x >> 24) & 0xFFFF;
  x &= 0x0101010101010101;
  x = (x | x >> 7) & 0x0003000300030003;
  x = (x | x >> 14) & 0x0000000F0000000F;
  return (x | x >> 28) & 0xFF;
}

template <int kWidth>
void SpreadAs(const uint8_t* plane, int shift, bool merge, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; i += 8, plane += kWidth) {
    const size_t run = n - i < 8 ? n - i : 8;
    uint64_t fields = 0;
    std::memcpy(&fields, plane, kWidth);
    uint64_t bytes = Apart<kWidth>(fields) << shift;
    if (run < 8) {
      for (size_t j = 0; j < run; ++j, bytes >>= 8)
        out[i + j] = static_cast<uint8_t>(bytes | (merge ? out[i + j] : 0));
      return;
    }
    Store(out + i, merge ? bytes | Load<uint64_t>(out + i) : bytes);
  }
}

void Spread(const uint8_t* plane, int width, int shift, bool merge, size_t n, uint8_t* out) {
  const auto spread = width == 1   ? SpreadAs<1>
                      : width == 2 ? SpreadAs<2>
                      : width == 4 ? SpreadAs<4>
                                   : SpreadAs<8>;
  spread(plane, shift, merge, n, out);
}

template <int kWidth>
void GatherAs(const uint8_t* values, int shift, size_t n, uint8_t* plane) {
  for (size_t i = 0; i < n; i += 8, plane += kWidth) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, values + i, n - i < 8 ? n - i : 8);
    const uint64_t fields = Together<kWidth>(bytes >> shift);
    std::memcpy(plane, &fields, kWidth);
  }
}

void Gather(const uint8_t* values, int width, int shift, size_t n, uint8_t* plane) {
  const auto gather = width == 1   ? GatherAs<1>
                      : width == 2 ? GatherAs<2>
                      : width == 4 ? GatherAs<4>
                                   : GatherAs<8>;
  gather(values, shift, n, plane);
}

void Lookup(const uint8_t* indices, size_t n, const float* codebook, size_t, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = codebook[indices[i]];
}

uint16_t HalfOf(float value) {
  const uint32_t bits = Load<uint32_t>(&value);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
  if (size > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | (size >> 13 & 0x3FF));  // NaN
  if (size >= 0x47800000) return static_cast<uint16_t>(sign | 0x7C00);  // 65536 and more
  if (size >= 0x38800000) {                                             // normal
    return static_cast<uint16_t>(sign | ((size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13));
  }
  const float scaled =
      std::fabs(value) * 0x1p24f;  // subnormal: a whole number of 2^-24, exact before rounding
  const auto whole = static_cast<uint32_t>(scaled);
  const float rest = scaled - static_cast<float>(whole);
  return static_cast<uint16_t>(sign | (whole + (rest > 0.5f || (rest == 0.5f && whole % 2 == 1))));
}

void ToHalf(const float* values, size_t n, uint16_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = HalfOf(values[i]);
}

// Starts at the boundaries before the value's cell and passes those in it. Cells are found some values ahead,
// in a loop of its own that the compiler turns into vectors: with both in one, it branches.
template <int kCrowd>
void AssignByCell(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices) {
  constexpr size_t kAhead = 256;
  int32_t cells[kAhead];
  while (n > 0) {
    const size_t run = n < kAhead ? n : kAhead;
    for (size_t i = 0; i < run; ++i) cells[i] = boundaries.CellOf(values[i]);
    for (size_t i = 0; i < run; ++i) {
      size_t at = boundaries.at[cells[i]];
      for (int step = 0; step < kCrowd; ++step) at += boundaries.sorted[at] <= values[i];
      indices[i] = static_cast<uint8_t>(at);
    }
    n -= run, values += run, indices += run;
  }
}

void AssignBySearch(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices) {
  for (size_t i = 0; i < n; ++i) {
    size_t at = 0;
    for (size_t step = size_t{1} << boundaries.levels >> 1; step > 0; step >>= 1) {
      at += boundaries.sorted[at + step - 1] <= values[i] ? step : 0;
    }
    indices[i] = static_cast<uint8_t>(at);
  }
}

void Assign(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices) {
  constexpr decltype(&AssignBySearch) ways[] = {AssignBySearch, AssignByCell<1>, AssignByCell<2>,
                                                AssignByCell<3>};
  ways[boundaries.crowd](values, n, boundaries, indices);
}

}  // namespace

const Kernels kPortableKernels = {"portable", CountOnes, Merge,  Translate, Split,
                                  Spread,     Gather,    Lookup, ToHalf,    Assign};

}  // namespace osq
