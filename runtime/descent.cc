// Weights that become levels of a grid, column by column: squared error against coded bits.
#include <algorithm>
#include <cmath>

#include "codec.h"

namespace osq {
namespace {

constexpr size_t kTile = 64;           // outputs side by side, whose columns stay in the cache
constexpr size_t kMostSpan = 1 << 20;  // whole numbers that float32 tells apart, with room for fractions

bool Valid(const osq_rounding* rounding) {
  if (rounding == nullptr) return false;
  const osq_rounding& r = *rounding;
  if (r.prices == nullptr || r.levels == nullptr || r.bits == nullptr) return false;
  if (r.places == nullptr || r.nearest == nullptr) return false;
  if (r.first > r.last || r.last > r.inputs) return false;
  if (r.count < 1 || r.count > 256 || r.zero >= r.count || r.span < r.count || r.span > kMostSpan)
    return false;
  const float lowest = r.places[0], highest = r.places[r.count - 1];
  if (!(std::abs(lowest) <= kMostSpan) || lowest != std::trunc(lowest)) return false;
  if (highest - lowest + 1 != static_cast<float>(r.span)) return false;
  const auto known = [&](int32_t level) { return level >= 0 && static_cast<size_t>(level) < r.count; };
  if (!std::all_of(r.nearest, r.nearest + r.span, known)) return false;
  return r.step > 0 && std::isfinite(1 / r.step) && (r.price_width == 1 || r.price_width == r.outputs);
}

// A column of a tile: where it begins in the arrays, and how many outputs it has.
struct Column {
  size_t group, input, start, width;
  size_t begin;  // of the column: [group, input, start]
};

// Of a level next to the value, the one below it in size and zero, whichever costs least.
void Choose(const osq_rounding& r, const Column& column, const float* values, uint8_t* found) {
  const float* scales = r.scales == nullptr ? nullptr : r.scales + column.begin;
  const bool shared = r.price_width == 1;
  const float* prices = shared ? r.prices + column.group * r.inputs + column.input : r.prices + column.begin;
  const float inverse = 1 / r.step;
  const float lowest = r.places[0], highest = r.places[r.count - 1];
  const int start = static_cast<int>(lowest), zero = static_cast<int>(r.zero);
  for (size_t o = 0; o < column.width; ++o) {
    const float place = (scales == nullptr ? values[o] : values[o] / scales[o]) * inverse;
    const float inside = place > lowest ? std::min(place, highest) : lowest;  // NaN: the lowest
    const int nearest = r.nearest[static_cast<int>(inside + std::copysign(0.5f, inside)) - start];
    const int below = nearest - (nearest > zero) + (nearest < zero);
    const float price = prices[shared ? 0 : o];
    const auto cost = [&](int level) {
      const float off = place - r.places[level];
      return off * off + price * r.bits[level];
    };
    const float first = cost(nearest), second = cost(below), third = cost(zero);
    int best = second < first ? below : nearest;
    if (third < std::min(first, second)) best = zero;
    found[o] = static_cast<uint8_t>(best);
  }
}

float Level(const osq_rounding& r, size_t at, uint8_t index) {
  return r.scales == nullptr ? r.levels[index] : r.levels[index] * r.scales[at];
}

// target[j, o] += factors[j] * values[o] for the inputs from `first` to `last` of a tile.
void AddOuter(const osq_rounding& r, const Column& column, size_t first, size_t last, const float* factors,
              const float* values, float* target) {
  for (size_t j = first; j < last; ++j) {
    float* row = target + (column.group * r.inputs + j) * r.outputs + column.start;
    const float factor = factors[j];
    for (size_t o = 0; o < column.width; ++o) row[o] += factor * values[o];
  }
}

template <typename Work>
void EachColumn(const osq_rounding& r, const Work& work) {
  for (size_t g = 0; g < r.groups; ++g) {
    for (size_t start = 0; start < r.outputs; start += kTile) {
      const size_t width = std::min(kTile, r.outputs - start);
      for (size_t j = r.first; j < r.last; ++j)
        work(Column{g, j, start, width, (g * r.inputs + j) * r.outputs + start});
    }
  }
}

}  // namespace
}  // namespace osq

using namespace osq;

int osq_carry(const osq_rounding* rounding, float* weights, const float* upper, float* errors,
              uint8_t* found) {
  if (!Valid(rounding) || weights == nullptr || found == nullptr) return OSQ_BAD_ARGUMENT;
  if (upper != nullptr && errors == nullptr) return OSQ_BAD_ARGUMENT;
  const osq_rounding& r = *rounding;
  EachColumn(r, [&](const Column& column) {
    Choose(r, column, weights + column.begin, found + column.begin);
    if (upper == nullptr) return;
    const float* row = upper + (column.group * r.inputs + column.input) * r.inputs;
    float moved[kTile];
    for (size_t o = 0; o < column.width; ++o) {
      const size_t at = column.begin + o;
      errors[at] = (weights[at] - Level(r, at, found[at])) / row[column.input];
      moved[o] = -errors[at];
    }
    AddOuter(r, column, column.input + 1, r.last, row, moved, weights);
  });
  return OSQ_OK;
}

int osq_descend(const osq_rounding* rounding, float* now, const float* moments, float* gradients,
                float* moved, uint8_t* found) {
  if (!Valid(rounding) || now == nullptr || moments == nullptr) return OSQ_BAD_ARGUMENT;
  if (gradients == nullptr || moved == nullptr || found == nullptr) return OSQ_BAD_ARGUMENT;
  const osq_rounding& r = *rounding;
  EachColumn(r, [&](const Column& column) {
    const float* row = moments + (column.group * r.inputs + column.input) * r.inputs;
    const float inverse = 1 / std::max(row[column.input], 1e-30f);
    float wanted[kTile];
    for (size_t o = 0; o < column.width; ++o) {
      const size_t at = column.begin + o;
      wanted[o] = now[at] - gradients[at] * inverse;
    }
    Choose(r, column, wanted, found + column.begin);
    bool any = false;
    for (size_t o = 0; o < column.width; ++o) {
      const size_t at = column.begin + o;
      const float level = Level(r, at, found[at]);
      moved[at] = level - now[at];
      now[at] = level;
      any |= moved[at] != 0;
    }
    if (any) AddOuter(r, column, r.first, r.last, row, moved + column.begin, gradients);
  });
  return OSQ_OK;
}
