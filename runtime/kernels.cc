#include "kernels.h"

#include <cstdlib>
#include <cstring>

#include "codec.h"

namespace osq {
namespace {

const Kernels* Choose() {
#ifdef __x86_64__
  const char* cap = std::getenv("ONNXSQUEEZE_ISA");
  const auto capped_at = [cap](const char* name) { return cap != nullptr && std::strcmp(cap, name) == 0; };
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                      __builtin_cpu_supports("avx512vpopcntdq");
  if (avx512 && !capped_at("avx2") && !capped_at("portable")) return &kAvx512Kernels;
  if (avx2 && !capped_at("portable")) return &kAvx2Kernels;
#endif
  return &kPortableKernels;
}

}  // namespace

const Kernels& ActiveKernels() {
  static const Kernels* const chosen = Choose();
  return *chosen;
}

}  // namespace osq

const char* osq_isa(void) { return osq::ActiveKernels().name; }
