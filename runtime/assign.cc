// Nearest codebook entries by the boundaries between them.
#include <algorithm>
#include <limits>

#include "codec.h"
#include "kernels.h"
#include "parallel.h"

int osq_assign(const float* values, size_t count, const float* boundaries, size_t boundary_count, int threads,
               uint8_t* indices) {
  using namespace osq;
  if (count > 0 && (values == nullptr || indices == nullptr)) return OSQ_BAD_ARGUMENT;
  if (boundary_count > 255 || (boundary_count > 0 && boundaries == nullptr)) return OSQ_BAD_ARGUMENT;
  if (!std::is_sorted(boundaries, boundaries + boundary_count)) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    Boundaries prepared;
    std::fill_n(prepared.sorted, 256, std::numeric_limits<float>::quiet_NaN());
    std::copy_n(boundaries, boundary_count, prepared.sorted);
    prepared.levels = 0;
    while (boundary_count >> prepared.levels > 0) ++prepared.levels;
    const size_t parts = UsefulThreads(threads, count);
    return ParallelFor(parts, parts, [&](size_t part) -> int {
      const size_t first = count * part / parts;
      ActiveKernels().assign(values + first, count * (part + 1) / parts - first, prepared, indices + first);
      return OSQ_OK;
    });
  });
}
