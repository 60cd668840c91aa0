// Which inner loops run, and what is done to results.
#include "product.h"

#include <cstring>

#include "codec.h"
#include "product_kernels.h"

namespace osq {

const ProductKernels& ActiveProductKernels() {
#ifdef __x86_64__
  if (std::strcmp(osq_isa(), "avx512") == 0) return kAvx512Products;
  if (std::strcmp(osq_isa(), "avx2") == 0 && __builtin_cpu_supports("fma")) return kAvx2Products;
#endif
  return kPortableProducts;
}

void Epilogue::Apply(float* values, size_t n) const {
  if (activation != Activation::kNone) ActiveProductKernels().activate(activation, low, high, values, n);
}

}  // namespace osq
