// AVX2 with BMI2: 8 elements a step, parted and merged by byte shuffles from a table.
#include <immintrin.h>

#include <array>

#include "kernels.h"

#define OSQ_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt,f16c")))

namespace osq {
namespace {

// For each 8 bits, where the 8 elements of a merge come from: 0 ... 7 of the zeros, 8 ... 15 of the ones.
constexpr std::array<uint64_t, 256> MergeShuffles() {
  std::array<uint64_t, 256> table{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    uint64_t next[2] = {0, 8};
    for (unsigned i = 0; i < 8; ++i) table[bits] |= next[bits >> i & 1]++ << 8 * i;
  }
  return table;
}

// For each 8 bits, the positions of the zeros, then those of the ones.
constexpr std::array<uint64_t, 256> SplitShuffles() {
  std::array<uint64_t, 256> table{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    unsigned filled = 0;
    for (unsigned side = 0; side < 2; ++side) {
      for (uint64_t i = 0; i < 8; ++i) {
        if ((bits >> i & 1) == side) table[bits] |= i << 8 * filled++;
      }
    }
  }
  return table;
}

constexpr std::array<uint64_t, 256> kMergeShuffles = MergeShuffles(), kSplitShuffles = SplitShuffles();

OSQ_TARGET size_t CountOnes(const uint8_t* bits, size_t first, size_t n) {
  size_t ones = 0, i = 0;
  for (; i + 64 <= n; i += 64) ones += _mm_popcnt_u64(LoadWord(bits, first + i));
  return ones + _mm_popcnt_u64(LoadBits(bits, first + i, n - i));
}

OSQ_TARGET OSQ_INLINE __m128i LoadEight(const void* from) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(from));
}

template <bool kZeroLeaf, bool kOneLeaf>
OSQ_TARGET void MergeAs(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  __m128i z = _mm_set1_epi8(static_cast<char>(zero.leaf)), o = _mm_set1_epi8(static_cast<char>(one.leaf));
  const auto eight = [&](unsigned byte) OSQ_TARGET {
    const size_t ones = _mm_popcnt_u32(byte);
    if (!kZeroLeaf) z = LoadEight(zero.values);
    if (!kOneLeaf) o = LoadEight(one.values);
    if (!kZeroLeaf) zero.values += 8 - ones;
    if (!kOneLeaf) one.values += ones;
    return _mm_shuffle_epi8(_mm_unpacklo_epi64(z, o), LoadEight(&kMergeShuffles[byte]));
  };
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    uint64_t word = LoadWord(bits, first + i);
    for (size_t j = 0; j < 64; j += 8, word >>= 8) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i + j), eight(word & 0xFF));
    }
  }
  for (uint64_t word = LoadBits(bits, first + i, n - i); i < n; i += 8, word >>= 8) {
    const __m128i values = eight(word & 0xFF);
    std::memcpy(out + i, &values, n - i < 8 ? n - i : 8);
  }
}

void Merge(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  const auto merge = zero.values == nullptr
                         ? (one.values == nullptr ? MergeAs<true, true> : MergeAs<true, false>)
                         : (one.values == nullptr ? MergeAs<false, true> : MergeAs<false, false>);
  merge(bits, first, n, zero, one, out);
}

template <bool kZero, bool kOne>
OSQ_TARGET size_t SplitAs(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero,
                          uint8_t* one) {
  const __m128i pivots = _mm_set1_epi8(static_cast<char>(pivot));
  size_t ones = 0;
  const auto eight = [&](size_t i, unsigned present) OSQ_TARGET -> uint64_t {
    const __m128i label = LoadEight(labels + i);
    const __m128i is_one = _mm_cmpeq_epi8(_mm_max_epu8(label, pivots), label);
    const unsigned byte = static_cast<unsigned>(_mm_movemask_epi8(is_one)) & present;
    const size_t ones_here = _mm_popcnt_u32(byte);
    const __m128i parted = _mm_shuffle_epi8(label, LoadEight(&kSplitShuffles[byte]));
    const auto both = static_cast<uint64_t>(_mm_cvtsi128_si64(parted));
    if (kZero) Store(zero + i - ones, both);
    if (kOne) Store(one + ones, both >> 4 * (8 - ones_here) >> 4 * (8 - ones_here));
    ones += ones_here;
    return byte;
  };
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    uint64_t word = 0;
    for (size_t j = 0; j < 64; j += 8) word |= eight(i + j, 0xFF) << j;
    bits->Append(word, 64);
  }
  uint64_t word = 0;
  for (size_t j = 0; i + j < n; j += 8)
    word |= eight(i + j, n - i - j < 8 ? (1u << (n - i - j)) - 1 : 0xFF) << j;
  bits->Append(word, static_cast<unsigned>(n - i));
  return ones;
}

size_t Split(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero, uint8_t* one) {
  const auto split = zero == nullptr ? (one == nullptr ? SplitAs<false, false> : SplitAs<false, true>)
                                     : (one == nullptr ? SplitAs<true, false> : SplitAs<true, true>);
  return split(labels, n, pivot, bits, zero, one);
}

void Translate(const uint8_t* in, size_t n, const uint8_t* table, uint8_t* out) {
  kPortableKernels.translate(in, n, table, out);
}

template <int kWidth>
OSQ_TARGET void SpreadAs(const uint8_t* plane, int shift, bool merge, size_t n, uint8_t* out) {
  const uint64_t mask = uint64_t{0x0101010101010101} * ((1 << kWidth) - 1) << shift;
  size_t i = 0;
  for (; i + 8 <= n; i += 8, plane += kWidth) {
    uint64_t fields = 0;
    std::memcpy(&fields, plane, kWidth);
    const uint64_t values = _pdep_u64(fields, mask);
    Store(out + i, merge ? values | Load<uint64_t>(out + i) : values);
  }
  kPortableKernels.spread(plane, kWidth, shift, merge, n - i, out + i);
}

void Spread(const uint8_t* plane, int width, int shift, bool merge, size_t n, uint8_t* out) {
  const auto spread = width == 1   ? SpreadAs<1>
                      : width == 2 ? SpreadAs<2>
                      : width == 4 ? SpreadAs<4>
                                   : SpreadAs<8>;
  spread(plane, shift, merge, n, out);
}

template <int kWidth>
OSQ_TARGET void GatherAs(const uint8_t* values, int shift, size_t n, uint8_t* plane) {
  const uint64_t mask = uint64_t{0x0101010101010101} * ((1 << kWidth) - 1) << shift;
  size_t i = 0;
  for (; i + 8 <= n; i += 8, plane += kWidth) {
    const uint64_t fields = _pext_u64(Load<uint64_t>(values + i), mask);
    std::memcpy(plane, &fields, kWidth);
  }
  kPortableKernels.gather(values + i, kWidth, shift, n - i, plane);
}

void Gather(const uint8_t* values, int width, int shift, size_t n, uint8_t* plane) {
  const auto gather = width == 1   ? GatherAs<1>
                      : width == 2 ? GatherAs<2>
                      : width == 4 ? GatherAs<4>
                                   : GatherAs<8>;
  gather(values, shift, n, plane);
}

void Lookup(const uint8_t* indices, size_t n, const float* codebook, size_t entries, float* out) {
  kPortableKernels.lookup(indices, n, codebook, entries, out);
}

OSQ_TARGET void ToHalf(const float* values, size_t n, uint16_t* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Store(out + i, _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
  }
  kPortableKernels.to_half(values + i, n - i, out + i);
}

// A binary search, 8 at a time: the first three levels in a register, the others in memory.
OSQ_TARGET void Assign(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices) {
  if (boundaries.levels > 3 && boundaries.crowd > 0)
    return kPortableKernels.assign(values, n, boundaries, indices);
  const int deep = boundaries.levels > 3 ? boundaries.levels - 3 : 0;
  float coarse[8];
  for (size_t j = 0; j < 8; ++j) coarse[j] = boundaries.sorted[((j + 1) << deep) - 1];
  const __m256 pivots = _mm256_loadu_ps(coarse);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 value = _mm256_loadu_ps(values + i);
    __m256i at = _mm256_setzero_si256();
    const auto climb = [&](__m256 boundary, int step) OSQ_TARGET {
      const __m256i up = _mm256_castps_si256(_mm256_cmp_ps(boundary, value, _CMP_LE_OQ));
      return _mm256_add_epi32(at, _mm256_and_si256(up, _mm256_set1_epi32(step)));
    };
    for (int step = 1 << (boundaries.levels - deep) >> 1; step > 0; step >>= 1) {
      const __m256i next = _mm256_add_epi32(at, _mm256_set1_epi32(step - 1));
      at = climb(_mm256_permutevar8x32_ps(pivots, next), step);
    }
    at = _mm256_sll_epi32(at, _mm_cvtsi32_si128(deep));
    for (int step = 1 << deep >> 1; step > 0; step >>= 1) {
      const __m256i next = _mm256_add_epi32(at, _mm256_set1_epi32(step - 1));
      at = climb(_mm256_i32gather_ps(boundaries.sorted, next, 4), step);
    }
    const __m256i words = _mm256_packus_epi32(at, at);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words),
                                                      _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(indices + i), _mm256_castsi256_si128(bytes));
  }
  kPortableKernels.assign(values + i, n - i, boundaries, indices + i);
}

}  // namespace

const Kernels kAvx2Kernels = {"avx2", CountOnes, Merge,  Translate, Split,
                              Spread, Gather,    Lookup, ToHalf,    Assign};

}  // namespace osq
