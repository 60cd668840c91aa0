#include <immintrin.h>

#include "bits.h"
#include "sparse.h"

#define OSQ_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,fma")))

namespace osq {
namespace {

constexpr int kWidth = 16;

OSQ_TARGET OSQ_INLINE __m512 GatherVector(const float* in, const uint16_t* index) {
  const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
  return _mm512_i32gather_ps(_mm512_cvtepu16_epi32(narrow), in, 4);
}

OSQ_TARGET OSQ_INLINE __m512 GatherVector(const float* in, const uint32_t* index) {
  return _mm512_i32gather_ps(_mm512_loadu_si512(index), in, 4);
}

}  // namespace
}  // namespace osq

#include "sparse_inner.h"

namespace osq {

const SparseKernels kAvx512SparseKernels = {Multiply<uint16_t>, Multiply<uint32_t>, Dot<uint16_t>,
                                            Dot<uint32_t>};

}  // namespace osq
