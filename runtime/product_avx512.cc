#include <immintrin.h>

#include "bits.h"
#include "product_kernels.h"

#define OSQ_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,fma")))

namespace osq {
namespace {

constexpr int kWidth = 16;

}  // namespace
}  // namespace osq

#include "product_inner.h"

namespace osq {
namespace {

// Eight vectors, each of two rows (i and i + 8) of eight floats, become eight columns of sixteen.
OSQ_TARGET OSQ_INLINE void Transpose(__m512* rows) {
  __m512 pairs[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  __m512 fours[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    fours[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
  OSQ_UNROLL
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm512_permutex2var_ps(fours[i], low, fours[i + 4]);
    rows[i + 4] = _mm512_permutex2var_ps(fours[i], high, fours[i + 4]);
  }
}

OSQ_TARGET void Interleave(const float* const* from, size_t n, float* out, size_t stride) {
  const __mmask8 present = static_cast<__mmask8>((1u << n) - 1);
  __m512 rows[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; ++i) {
    const __m512 low = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(present, from[i]));
    rows[i] = _mm512_insertf32x8(low, _mm256_maskz_loadu_ps(present, from[i + 8]), 1);
  }
  Transpose(rows);
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) {
    if (i < n) _mm512_storeu_ps(out + i * stride, rows[i]);
  }
}

// The inverse: the lanes of eight vectors, two rows of eight columns in each result.
OSQ_TARGET void Part(const float* in, size_t stride, size_t n, size_t lanes, float* const* to) {
  const __mmask8 present = static_cast<__mmask8>((1u << n) - 1);
  __m512 rows[8];
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) rows[i] = i < n ? _mm512_loadu_ps(in + i * stride) : _mm512_setzero_ps();
  Transpose(rows);
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) {
    if (i < lanes) _mm256_mask_storeu_ps(to[i], present, _mm512_castps512_ps256(rows[i]));
    // gcc would store with a masked VEXTRACTF32X8, which faults where masked-out lanes lie outside of memory.
    __m256 high = _mm512_extractf32x8_ps(rows[i], 1);
    __asm__("" : "+v"(high));
    if (i + 8 < lanes) _mm256_mask_storeu_ps(to[i + 8], present, high);
  }
}

OSQ_TARGET OSQ_INLINE __m512 SliceStep(const float* values, const uint8_t* distance, const float* x,
                                       __m512i* at, __m512 sum) {
  const __m128i by = _mm_loadu_si128(reinterpret_cast<const __m128i*>(distance));
  *at = _mm512_add_epi32(*at, _mm512_cvtepu8_epi32(by));
  return _mm512_fmadd_ps(_mm512_loadu_ps(values), _mm512_i32gather_ps(*at, x, 4), sum);
}

OSQ_TARGET void Slice(const float* values, const uint8_t* distance, size_t steps, const float* x,
                      float* sums) {
  __m512i at = _mm512_setzero_si512();
  __m512 parts[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  size_t step = 0;
  for (; step + 4 <= steps; step += 4, values += 64, distance += 64) {
    __builtin_prefetch(distance + 1024);
    OSQ_UNROLL
    for (int i = 0; i < 4; ++i) {
      __builtin_prefetch(values + 512 + 16 * i);
      parts[i] = SliceStep(values + 16 * i, distance + 16 * i, x, &at, parts[i]);
    }
  }
  for (; step < steps; ++step, values += 16, distance += 16) {
    parts[0] = SliceStep(values, distance, x, &at, parts[0]);
  }
  const __m512 sum = _mm512_add_ps(_mm512_add_ps(parts[0], parts[1]), _mm512_add_ps(parts[2], parts[3]));
  _mm512_storeu_ps(sums, sum);
}

}  // namespace

namespace {

typedef uint32_t Integers __attribute__((vector_size(64), aligned(4), may_alias));

OSQ_TARGET OSQ_INLINE Integers LoadIntegers(const uint32_t* from) {
  return reinterpret_cast<Integers>(_mm512_loadu_si512(from));
}

// Up to 64 entries stay in registers.
template <int kBits>
struct Codebook {
  static constexpr int kTables = kBits <= 4 ? 1 : kBits == 5 ? 2 : kBits == 6 ? 4 : 0;
  __m512 tables[kTables == 0 ? 1 : kTables];
  const float* codebook;

  OSQ_TARGET OSQ_INLINE explicit Codebook(const float* codebook) : codebook(codebook) {
    for (int i = 0; i < kTables; ++i) tables[i] = _mm512_loadu_ps(codebook + 16 * i);
  }

  OSQ_TARGET OSQ_INLINE Vector At(Integers indices) const {
    const __m512i at = reinterpret_cast<__m512i>(indices);
    if constexpr (kTables == 1) return _mm512_permutexvar_ps(at, tables[0]);
    if constexpr (kTables == 2) return _mm512_permutex2var_ps(tables[0], at, tables[1]);
    if constexpr (kTables == 4) {
      return _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)),
                                  _mm512_permutex2var_ps(tables[0], at, tables[1]),
                                  _mm512_permutex2var_ps(tables[2], at, tables[3]));
    }
    return _mm512_i32gather_ps(_mm512_and_si512(at, _mm512_set1_epi32((1 << kBits) - 1)), codebook, 4);
  }
};

constexpr size_t kNmBatch = 16;

template <int kBits>
OSQ_TARGET OSQ_INLINE Vector Pick(const float* x, Integers at) {
  const __m512i lanes = reinterpret_cast<__m512i>(at);
  if constexpr (kBits == 2) return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(x)), lanes);
  if constexpr (kBits == 3) return _mm512_permutexvar_ps(lanes, _mm512_broadcast_f32x8(_mm256_loadu_ps(x)));
  if constexpr (kBits == 4) return _mm512_permutexvar_ps(lanes, _mm512_loadu_ps(x));
}

}  // namespace
}  // namespace osq

#include "nm_inner.h"
#include "shared_inner.h"

namespace osq {

const ProductKernels kAvx512Products = {kWidth,         Multiply, Collect,    Interleave, Part,    Slice,
                                        MultiplyShared, kNmBatch, MultiplyNm, Add,        Activate};

}  // namespace osq
