// AVX-512 with VBMI2: 64 elements a step, parted and merged by byte-wise compress and expand.
#include <immintrin.h>

#include "kernels.h"

#define OSQ_TARGET                                                                        \
  __attribute__((                                                                         \
      target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx512vpopcntdq," \
             "avx2,bmi,bmi2,popcnt,f16c")))

namespace osq {
namespace {

// The lowest `n` < 64 bits.
OSQ_INLINE __mmask64 Low(size_t n) { return ~(~uint64_t{0} << n); }

// Counts whole bytes, then takes off what lies before and after the run in its first and last byte.
OSQ_TARGET size_t CountOnes(const uint8_t* bits, size_t first, size_t n) {
  if (n == 0) return 0;
  const uint8_t* byte = bits + first / 8;
  const size_t bytes = (first % 8 + n + 7) / 8, end = (first + n) % 8;
  const unsigned before = byte[0] & ((1u << first % 8) - 1);
  const unsigned after = end == 0 ? 0 : unsigned{byte[bytes - 1]} >> end;
  __m512i sum = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_loadu_si512(byte + i)));
  }
  sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_maskz_loadu_epi8(Low(bytes - i), byte + i)));
  return static_cast<size_t>(_mm512_reduce_add_epi64(sum)) - _mm_popcnt_u32(before) - _mm_popcnt_u32(after);
}

// One step of a merge; `z` and `o` are the next 64 elements of each side, or 64 times its leaf.
template <bool kZeroLeaf, bool kOneLeaf>
OSQ_TARGET OSQ_INLINE __m512i MergeStep(__mmask64 ones, __m512i z, __m512i o) {
  if (!kZeroLeaf) z = _mm512_maskz_expand_epi8(_knot_mask64(ones), z);
  return kOneLeaf ? _mm512_mask_mov_epi8(z, ones, o) : _mm512_mask_expand_epi8(z, ones, o);
}

template <bool kZeroLeaf, bool kOneLeaf>
OSQ_TARGET void MergeAs(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  __m512i z = _mm512_set1_epi8(static_cast<char>(zero.leaf)),
          o = _mm512_set1_epi8(static_cast<char>(one.leaf));
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const uint64_t word = LoadWord(bits, first + i);
    const size_t ones = _mm_popcnt_u64(word);
    if (!kZeroLeaf) z = _mm512_loadu_si512(zero.values);
    if (!kOneLeaf) o = _mm512_loadu_si512(one.values);
    _mm512_storeu_si512(out + i, MergeStep<kZeroLeaf, kOneLeaf>(word, z, o));
    if (!kZeroLeaf) zero.values += 64 - ones;
    if (!kOneLeaf) one.values += ones;
  }
  if (i == n) return;
  if (!kZeroLeaf) z = _mm512_loadu_si512(zero.values);
  if (!kOneLeaf) o = _mm512_loadu_si512(one.values);
  const __mmask64 word = LoadBits(bits, first + i, n - i);
  _mm512_mask_storeu_epi8(out + i, Low(n - i), MergeStep<kZeroLeaf, kOneLeaf>(word, z, o));
}

void Merge(const uint8_t* bits, size_t first, size_t n, Source zero, Source one, uint8_t* out) {
  const auto merge = zero.values == nullptr
                         ? (one.values == nullptr ? MergeAs<true, true> : MergeAs<true, false>)
                         : (one.values == nullptr ? MergeAs<false, true> : MergeAs<false, false>);
  merge(bits, first, n, zero, one, out);
}

OSQ_TARGET void Translate(const uint8_t* in, size_t n, const uint8_t* table, uint8_t* out) {
  __m512i part[4];
  for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * i);
  for (size_t i = 0; i < n; i += 64) {
    const __mmask64 wanted = n - i < 64 ? Low(n - i) : ~__mmask64{0};
    const __m512i value = _mm512_maskz_loadu_epi8(wanted, in + i);
    const __m512i low = _mm512_permutex2var_epi8(part[0], value, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], value, part[3]);
    _mm512_mask_storeu_epi8(out + i, wanted, _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(value), high));
  }
}

template <bool kZero, bool kOne>
OSQ_TARGET size_t SplitAs(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero,
                          uint8_t* one) {
  const __m512i pivots = _mm512_set1_epi8(static_cast<char>(pivot));
  BitWriter writer = *bits;  // in registers
  size_t ones = 0;
  for (size_t i = 0; i < n; i += 64) {
    const size_t run = n - i < 64 ? n - i : 64;
    const __mmask64 present = run < 64 ? Low(run) : ~__mmask64{0};
    const __m512i label = _mm512_maskz_loadu_epi8(present, labels + i);
    const __mmask64 is_one = _mm512_mask_cmpge_epu8_mask(present, label, pivots);
    const uint64_t word = _cvtmask64_u64(is_one);
    if (kZero)
      _mm512_storeu_si512(zero + i - ones, _mm512_maskz_compress_epi8(_kandn_mask64(is_one, present), label));
    if (kOne) _mm512_storeu_si512(one + ones, _mm512_maskz_compress_epi8(is_one, label));
    writer.Append(word, static_cast<unsigned>(run));
    ones += _mm_popcnt_u64(word);
  }
  *bits = writer;
  return ones;
}

size_t Split(const uint8_t* labels, size_t n, uint8_t pivot, BitWriter* bits, uint8_t* zero, uint8_t* one) {
  const auto split = zero == nullptr ? (one == nullptr ? SplitAs<false, false> : SplitAs<false, true>)
                                     : (one == nullptr ? SplitAs<true, false> : SplitAs<true, true>);
  return split(labels, n, pivot, bits, zero, one);
}

// 64 fields of kWidth bits, one a byte.
template <int kWidth>
OSQ_TARGET OSQ_INLINE __m512i Fields(const uint8_t* plane, __mmask64 present) {
  if (kWidth == 8) return _mm512_maskz_loadu_epi8(present, plane);
  if (kWidth == 4) {
    const __m256i packed = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(present), plane);
    const __m512i shifts = _mm512_set1_epi64(0x1C1814100C080400);
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, _mm512_cvtepu32_epi64(packed)),
                            _mm512_set1_epi8(15));
  }
  const __m128i packed = _mm_maskz_loadu_epi8(static_cast<__mmask16>(present), plane);
  if (kWidth == 1) return _mm512_maskz_set1_epi8(static_cast<__mmask64>(_mm_cvtsi128_si64(packed)), 1);
  const __m512i shifts = _mm512_set1_epi64(0x0E0C0A0806040200);
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, _mm512_cvtepu16_epi64(packed)),
                          _mm512_set1_epi8(3));
}

template <int kWidth>
OSQ_TARGET void SpreadAs(const uint8_t* plane, int shift, bool merge, size_t n, uint8_t* out) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  for (size_t i = 0; i < n; i += 64, plane += 8 * kWidth) {
    const size_t run = n - i < 64 ? n - i : 64;
    const size_t bytes = (run + 7) / 8 * kWidth;
    const __mmask64 wanted = run < 64 ? Low(run) : ~__mmask64{0};
    const __m512i fields = Fields<kWidth>(plane, bytes < 64 ? Low(bytes) : ~__mmask64{0});
    __m512i values = _mm512_sll_epi16(fields, count);
    if (merge) values = _mm512_or_si512(values, _mm512_maskz_loadu_epi8(wanted, out + i));
    _mm512_mask_storeu_epi8(out + i, wanted, values);
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
OSQ_TARGET void GatherAs(const uint8_t* values, int shift, size_t n, uint8_t* plane) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << kWidth) - 1));
  for (size_t i = 0; i < n; i += 64, plane += 8 * kWidth) {
    const size_t run = n - i < 64 ? n - i : 64;
    const size_t bytes = (run + 7) / 8 * kWidth;
    const __m512i value = _mm512_maskz_loadu_epi8(run < 64 ? Low(run) : ~__mmask64{0}, values + i);
    const __m512i fields = _mm512_and_si512(_mm512_srl_epi16(value, count), mask);
    const __mmask64 wanted = bytes < 64 ? Low(bytes) : ~__mmask64{0};
    __m512i packed = fields;
    if (kWidth == 4) {
      const __m512i pairs = _mm512_maddubs_epi16(fields, _mm512_set1_epi16(0x1001));
      packed = _mm512_castsi256_si512(_mm512_cvtepi16_epi8(pairs));
    }
    if (kWidth == 2) {
      const __m512i pairs = _mm512_maddubs_epi16(fields, _mm512_set1_epi16(0x0401));
      const __m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00100001));
      packed = _mm512_castsi128_si512(_mm512_cvtepi32_epi8(fours));
    }
    if (kWidth == 1) {
      const auto word = static_cast<long long>(_cvtmask64_u64(_mm512_test_epi8_mask(fields, fields)));
      packed = _mm512_castsi128_si512(_mm_cvtsi64_si128(word));
    }
    _mm512_mask_storeu_epi8(plane, wanted, packed);
  }
}

void Gather(const uint8_t* values, int width, int shift, size_t n, uint8_t* plane) {
  const auto gather = width == 1   ? GatherAs<1>
                      : width == 2 ? GatherAs<2>
                      : width == 4 ? GatherAs<4>
                                   : GatherAs<8>;
  gather(values, shift, n, plane);
}

OSQ_TARGET void Lookup(const uint8_t* indices, size_t n, const float* codebook, size_t entries, float* out) {
  size_t i = 0;
  if (entries <= 32) {
    const __m512 low = _mm512_loadu_ps(codebook), high = _mm512_loadu_ps(codebook + 16);
    for (; i + 16 <= n; i += 16) {
      const __m512i index = _mm512_cvtepu8_epi32(Load<__m128i>(indices + i));
      _mm512_storeu_ps(out + i, _mm512_permutex2var_ps(low, index, high));
    }
  }
  for (; i + 16 <= n; i += 16) {
    const __m512i index = _mm512_cvtepu8_epi32(Load<__m128i>(indices + i));
    _mm512_storeu_ps(out + i, _mm512_i32gather_ps(index, codebook, 4));
  }
  for (; i < n; ++i) out[i] = codebook[indices[i]];
}

OSQ_TARGET void ToHalf(const float* values, size_t n, uint16_t* out) {
  for (size_t i = 0; i < n; i += 16) {
    const auto present = static_cast<__mmask16>(n - i < 16 ? Low(n - i) : 0xFFFF);
    const __m512 value = _mm512_maskz_loadu_ps(present, values + i);
    _mm256_mask_storeu_epi16(out + i, present, _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
  }
}

// A binary search, 16 at a time: the first five levels in two registers, the others in memory.
OSQ_TARGET void Assign(const float* values, size_t n, const Boundaries& boundaries, uint8_t* indices) {
  const int deep = boundaries.levels > 5 ? boundaries.levels - 5 : 0;
  alignas(64) float coarse[32];
  for (size_t j = 0; j < 32; ++j) coarse[j] = boundaries.sorted[((j + 1) << deep) - 1];
  const __m512 low = _mm512_load_ps(coarse), high = _mm512_load_ps(coarse + 16);
  for (size_t i = 0; i < n; i += 16) {
    const auto present = static_cast<__mmask16>(n - i < 16 ? Low(n - i) : 0xFFFF);
    const __m512 value = _mm512_maskz_loadu_ps(present, values + i);
    __m512i at = _mm512_setzero_si512();
    for (int step = 1 << (boundaries.levels - deep) >> 1; step > 0; step >>= 1) {
      const __m512i next = _mm512_add_epi32(at, _mm512_set1_epi32(step - 1));
      const __mmask16 up = _mm512_cmp_ps_mask(_mm512_permutex2var_ps(low, next, high), value, _CMP_LE_OQ);
      at = _mm512_mask_add_epi32(at, up, at, _mm512_set1_epi32(step));
    }
    at = _mm512_sll_epi32(at, _mm_cvtsi32_si128(deep));
    for (int step = 1 << deep >> 1; step > 0; step >>= 1) {
      const __m512i next = _mm512_add_epi32(at, _mm512_set1_epi32(step - 1));
      const __mmask16 up =
          _mm512_cmp_ps_mask(_mm512_i32gather_ps(next, boundaries.sorted, 4), value, _CMP_LE_OQ);
      at = _mm512_mask_add_epi32(at, up, at, _mm512_set1_epi32(step));
    }
    _mm512_mask_cvtepi32_storeu_epi8(indices + i, present, at);
  }
}

}  // namespace

const Kernels kAvx512Kernels = {"avx512", CountOnes, Merge,  Translate, Split,
                                Spread,   Gather,    Lookup, ToHalf,    Assign};

}  // namespace osq
