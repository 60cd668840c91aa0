#include <immintrin.h>

#include "bits.h"
#include "product_kernels.h"

#define OSQ_TARGET __attribute__((target("avx2,fma")))

namespace osq {
namespace {

constexpr int kWidth = 8;

}  // namespace
}  // namespace osq

#include "product_inner.h"

namespace osq {
namespace {

OSQ_TARGET OSQ_INLINE __m256i LowLanes(size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

// Rows become columns.
OSQ_TARGET OSQ_INLINE void Transpose(__m256* rows) {
  __m256 pairs[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  __m256 fours[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  OSQ_UNROLL
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

OSQ_TARGET void Interleave(const float* const* from, size_t n, float* out, size_t stride) {
  const __m256i present = LowLanes(n);
  __m256 rows[8];
  OSQ_UNROLL
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_maskload_ps(from[i], present);
  Transpose(rows);
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) {
    if (i < n) _mm256_storeu_ps(out + i * stride, rows[i]);
  }
}

OSQ_TARGET void Part(const float* in, size_t stride, size_t n, size_t lanes, float* const* to) {
  const __m256i present = LowLanes(n);
  __m256 rows[8];
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) rows[i] = i < n ? _mm256_loadu_ps(in + i * stride) : _mm256_setzero_ps();
  Transpose(rows);
  OSQ_UNROLL
  for (size_t i = 0; i < 8; ++i) {
    if (i < lanes) _mm256_maskstore_ps(to[i], present, rows[i]);
  }
}

OSQ_TARGET void Slice(const float* values, const uint8_t* distance, size_t steps, const float* x,
                      float* sums) {
  __m256i at[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  __m256 even[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, odd[2] = {even[0], even[0]};
  for (size_t step = 0; step < steps; ++step, values += 16, distance += 16) {
    __builtin_prefetch(distance + 1024);
    __builtin_prefetch(values + 512);
    OSQ_UNROLL
    for (int half = 0; half < 2; ++half) {
      const __m128i by = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(distance + 8 * half));
      at[half] = _mm256_add_epi32(at[half], _mm256_cvtepu8_epi32(by));
      const __m256 in = _mm256_i32gather_ps(x, at[half], 4);
      const __m256 sum = _mm256_fmadd_ps(_mm256_loadu_ps(values + 8 * half), in, even[half]);
      even[half] = odd[half];
      odd[half] = sum;
    }
  }
  for (int half = 0; half < 2; ++half) {
    _mm256_storeu_ps(sums + 8 * half, _mm256_add_ps(even[half], odd[half]));
  }
}

}  // namespace

namespace {

typedef uint32_t Integers __attribute__((vector_size(32), aligned(4), may_alias));

OSQ_TARGET OSQ_INLINE Integers LoadIntegers(const uint32_t* from) {
  return reinterpret_cast<Integers>(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// Up to 16 entries stay in registers.
template <int kBits>
struct Codebook {
  __m256 low, high;
  const float* codebook;

  OSQ_TARGET OSQ_INLINE explicit Codebook(const float* codebook)
      : low(_mm256_loadu_ps(codebook)), high(_mm256_loadu_ps(codebook + 8)), codebook(codebook) {}

  OSQ_TARGET OSQ_INLINE Vector At(Integers indices) const {
    const __m256i at = reinterpret_cast<__m256i>(indices);
    if constexpr (kBits <= 3) return _mm256_permutevar8x32_ps(low, at);
    if constexpr (kBits == 4) {
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));  // bit 3 becomes the sign
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, at), _mm256_permutevar8x32_ps(high, at), upper);
    }
    return _mm256_i32gather_ps(codebook, _mm256_and_si256(at, _mm256_set1_epi32((1 << kBits) - 1)), 4);
  }
};

constexpr size_t kNmBatch = 4;

template <int kBits>
OSQ_TARGET OSQ_INLINE Vector Pick(const float* x, Integers at) {
  const __m256i lanes = reinterpret_cast<__m256i>(at);
  if constexpr (kBits == 2) {
    return _mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(x)), lanes);
  }
  if constexpr (kBits == 3) return _mm256_permutevar8x32_ps(_mm256_loadu_ps(x), lanes);
  if constexpr (kBits == 4) {
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28));  // bit 3 becomes the sign
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(x), lanes),
                            _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + 8), lanes), upper);
  }
}

}  // namespace
}  // namespace osq

#include "nm_inner.h"
#include "shared_inner.h"

namespace osq {

const ProductKernels kAvx2Products = {kWidth,         Multiply, Collect,    Interleave, Part,    Slice,
                                      MultiplyShared, kNmBatch, MultiplyNm, Add,        Activate};

}  // namespace osq
