// Nearest codebook entries by the boundaries between them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "codec.h"
#include "kernels.h"
#include "parallel.h"

namespace osq {
namespace {

constexpr int kMaxCrowd = 3;  // the assignment loops are written for up to so many

// Lays out the cells, where they pay and no cell is too crowded.
void PrepareCells(size_t count, size_t values, Boundaries* boundaries) {
  boundaries->crowd = 0;
  if (count < 2 || values < Boundaries::kCells) return;
  boundaries->low = boundaries->sorted[0];
  boundaries->cells_per_unit = Boundaries::kCells / (boundaries->sorted[count - 1] - boundaries->low);
  if (!std::isfinite(boundaries->cells_per_unit) || !std::isfinite(boundaries->low)) return;
  std::vector<int> in_cell(Boundaries::kCells);
  for (size_t b = 0; b < count; ++b) ++in_cell[boundaries->CellOf(boundaries->sorted[b])];
  int before = 0;
  for (int cell = 0; cell < Boundaries::kCells; ++cell) {
    boundaries->at[cell] = static_cast<uint8_t>(before);
    before += in_cell[cell];
  }
  const int crowd = *std::max_element(in_cell.begin(), in_cell.end());
  boundaries->crowd = crowd <= kMaxCrowd ? crowd : 0;
}

void Prepare(const float* boundaries, size_t count, size_t values, Boundaries* prepared) {
  std::fill_n(prepared->sorted, 256, std::numeric_limits<float>::quiet_NaN());
  std::copy_n(boundaries, count, prepared->sorted);
  prepared->levels = 0;
  while (count >> prepared->levels > 0) ++prepared->levels;
  PrepareCells(count, values, prepared);
}

}  // namespace
}  // namespace osq

int osq_assign(const float* values, size_t count, const float* boundaries, size_t boundary_count, int threads,
               uint8_t* indices) {
  using namespace osq;
  if (count > 0 && (values == nullptr || indices == nullptr)) return OSQ_BAD_ARGUMENT;
  if (boundary_count > 255 || (boundary_count > 0 && boundaries == nullptr)) return OSQ_BAD_ARGUMENT;
  if (!std::is_sorted(boundaries, boundaries + boundary_count)) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    Boundaries prepared;
    Prepare(boundaries, boundary_count, count, &prepared);
    const size_t parts = UsefulThreads(threads, count);
    return ParallelFor(parts, parts, [&](size_t part) -> int {
      const size_t first = count * part / parts;
      ActiveKernels().assign(values + first, count * (part + 1) / parts - first, prepared, indices + first);
      return OSQ_OK;
    });
  });
}
