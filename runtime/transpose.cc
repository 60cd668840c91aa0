#include "transpose.h"

#include <algorithm>
#include <cstring>

namespace osq {
namespace {

// Joins dimensions that are one run of elements; makes them two at least.
std::vector<Axis> Joined(const std::vector<Axis>& axes) {
  std::vector<Axis> joined;
  for (const Axis& axis : axes) {
    if (!joined.empty() && joined.back().step == axis.step * axis.size) {
      joined.back() = {joined.back().size * axis.size, axis.step};
    } else {
      joined.push_back(axis);
    }
  }
  joined.insert(joined.begin(), 2 - std::min<size_t>(2, joined.size()), {1, 0});
  return joined;
}

// Of two or more dimensions: those of the last two tile by tile, so
// that both sides stay in the nearest cache.
template <typename Item>
void CopyStrided(const uint8_t* from, const std::vector<Axis>& axes, uint8_t* out) {
  constexpr size_t kTile = 32;
  const size_t rank = axes.size(), height = axes[rank - 2].size, width = axes[rank - 1].size;
  const size_t down = axes[rank - 2].step, across = axes[rank - 1].step;
  const auto copy = [](const uint8_t* source, size_t step, size_t n, uint8_t* to) {
    for (size_t i = 0; i < n; ++i) {
      std::memcpy(to + i * sizeof(Item), source + i * step * sizeof(Item), sizeof(Item));
    }
  };
  size_t planes = 1;
  for (size_t i = 0; i + 2 < rank; ++i) planes *= axes[i].size;
  for (size_t plane = 0; plane < planes; ++plane, out += height * width * sizeof(Item)) {
    size_t base = 0, left = plane;
    for (size_t i = rank - 2; i-- > 0; left /= axes[i].size) base += left % axes[i].size * axes[i].step;
    for (size_t y = 0; y < height; y += kTile) {
      for (size_t x = 0; x < width; x += kTile) {
        const size_t n = std::min(kTile, width - x);
        for (size_t i = y; i < std::min(height, y + kTile); ++i) {
          copy(from + (base + i * down + x * across) * sizeof(Item), across, n,
               out + (i * width + x) * sizeof(Item));
        }
      }
    }
  }
}

}  // namespace

void Transpose(const uint8_t* from, size_t item, const std::vector<Axis>& axes, uint8_t* out) {
  const auto copy = item == 2   ? CopyStrided<uint16_t>
                    : item == 4 ? CopyStrided<uint32_t>
                                : CopyStrided<uint64_t>;
  copy(from, Joined(axes), out);
}

}  // namespace osq
