// Products for any machine: four floats a vector, which SSE2 has.
#include <algorithm>

#include "bits.h"
#include "product_kernels.h"

#define OSQ_TARGET

namespace osq {
namespace {

constexpr int kWidth = 4;

}  // namespace
}  // namespace osq

#include "product_inner.h"
#include "product_scalar.h"

namespace osq {
namespace {

typedef uint32_t Integers __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

OSQ_INLINE Integers LoadIntegers(const uint32_t* from) { return *reinterpret_cast<const Integers*>(from); }

template <int kBits>
struct Codebook {
  const float* codebook;

  explicit Codebook(const float* codebook) : codebook(codebook) {}

  OSQ_INLINE Vector At(Integers indices) const {
    const Integers at = indices & ((1u << kBits) - 1);
    return Vector{codebook[at[0]], codebook[at[1]], codebook[at[2]], codebook[at[3]]};
  }
};

constexpr size_t kNmBatch = 2;

template <int kBits>
OSQ_INLINE Vector Pick(const float* x, Integers at) {
  const Integers lane = at & ((1u << kBits) - 1);
  return Vector{x[lane[0]], x[lane[1]], x[lane[2]], x[lane[3]]};
}

}  // namespace
}  // namespace osq

#include "nm_inner.h"
#include "shared_inner.h"

namespace osq {

const ProductKernels kPortableProducts = {kWidth,         Multiply, Collect,    Interleave, Part,    Slice,
                                          MultiplyShared, kNmBatch, MultiplyNm, Add,        Activate};

}  // namespace osq
