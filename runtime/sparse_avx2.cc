#include <immintrin.h>

#include "bits.h"
#include "sparse.h"

#define OSQ_TARGET __attribute__((target("avx2,fma")))

namespace osq {
namespace {

constexpr int kWidth = 8;

OSQ_TARGET OSQ_INLINE __m256 GatherVector(const float* in, const uint16_t* index) {
  const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(index));
  return _mm256_i32gather_ps(in, _mm256_cvtepu16_epi32(narrow), 4);
}

OSQ_TARGET OSQ_INLINE __m256 GatherVector(const float* in, const uint32_t* index) {
  return _mm256_i32gather_ps(in, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)), 4);
}

}  // namespace
}  // namespace osq

#include "sparse_inner.h"

namespace osq {

const SparseKernels kAvx2SparseKernels = {Multiply<uint16_t>, Multiply<uint32_t>, Dot<uint16_t>,
                                          Dot<uint32_t>};

}  // namespace osq
