// Sparse loops for any machine: four floats a vector, which NEON and SSE have.
#include "bits.h"
#include "sparse.h"

#define OSQ_TARGET

namespace osq {
namespace {

constexpr int kWidth = 4;

template <typename Index>
OSQ_INLINE auto GatherVector(const float* in, const Index* index) {
  typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
  return Four{in[index[0]], in[index[1]], in[index[2]], in[index[3]]};
}

}  // namespace
}  // namespace osq

#include "sparse_inner.h"

namespace osq {

const SparseKernels kPortableSparseKernels = {Multiply<uint16_t>, Multiply<uint32_t>, Dot<uint16_t>,
                                              Dot<uint32_t>};

}  // namespace osq
