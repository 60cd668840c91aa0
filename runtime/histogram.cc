// Histograms and statistics of float32 values.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bits.h"
#include "codec.h"
#include "parallel.h"

namespace osq {
namespace {

struct Bin {
  double sum;
  uint64_t count;
};

constexpr size_t kMaxBins = size_t{1} << 22;
constexpr size_t kMaxParts = 8;
constexpr size_t kPartElements = size_t{1} << 20;

void AddTo(std::vector<Bin>* bins, const float* values, size_t count, double low, double scale) {
  const double last = static_cast<double>(bins->size() - 1);
  for (size_t i = 0; i < count; ++i) {
    const double value = values[i];
    const double at = (value - low) * scale;
    Bin& bin = (*bins)[at > 0 ? static_cast<size_t>(std::min(at, last)) : 0];  // NaN: the first
    bin.sum += value;
    ++bin.count;
  }
}

// Extremes of one lane; several lanes side by side become vector registers.
constexpr size_t kLanes = 32;

struct Lanes {
  float min[kLanes], max[kLanes];
  uint32_t odd[kLanes];  // values that are NaN or infinite
  uint32_t zeros[kLanes];
};

OSQ_INLINE void Look(Lanes* lanes, const float* values, size_t n) {
  for (size_t j = 0; j < n; ++j) {
    const float value = values[j];
    lanes->min[j] = value < lanes->min[j] ? value : lanes->min[j];
    lanes->max[j] = value > lanes->max[j] ? value : lanes->max[j];
    lanes->odd[j] += (Load<uint32_t>(values + j) & 0x7F800000) == 0x7F800000;
    lanes->zeros[j] += value == 0;
  }
}

void LookAtAll(Lanes* lanes, const float* values, size_t count) {
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Look(lanes, values + i, kLanes);
  Look(lanes, values + i, count - i);
}

}  // namespace
}  // namespace osq

using namespace osq;

int osq_histogram(const float* values, size_t count, double low, double high, size_t bins, int threads,
                  uint64_t* counts, double* sums) {
  if ((values == nullptr && count > 0) || counts == nullptr || sums == nullptr) return OSQ_BAD_ARGUMENT;
  if (bins < 1 || bins > kMaxBins || !std::isfinite(low) || !std::isfinite(high) || !(low <= high))
    return OSQ_BAD_ARGUMENT;
  const double scale = low < high ? static_cast<double>(bins) / (high - low) : 0;
  if (!std::isfinite(scale)) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    // The parts, and so the order of additions, depend on the count alone.
    const size_t parts = std::clamp<size_t>(count / kPartElements, 1, kMaxParts);
    std::vector<std::vector<Bin>> found(parts, std::vector<Bin>(bins));
    ParallelFor(std::clamp(threads, 1, 256), parts, [&](size_t part) -> int {
      const size_t first = count * part / parts;
      AddTo(&found[part], values + first, count * (part + 1) / parts - first, low, scale);
      return OSQ_OK;
    });
    for (size_t b = 0; b < bins; ++b) {
      counts[b] = 0;
      sums[b] = 0;
      for (const auto& part : found) {
        counts[b] += part[b].count;
        sums[b] += part[b].sum;
      }
    }
    return OSQ_OK;
  });
}

int osq_get_stats(const float* values, size_t count, osq_stats* stats) {
  if ((values == nullptr && count > 0) || stats == nullptr) return OSQ_BAD_ARGUMENT;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr size_t kPart = size_t{1} << 24;  // keeps the lanes' counts within 32 bits
  *stats = {kInfinity, -kInfinity, 0, 1, 0};
  for (size_t first = 0; first < count; first += kPart) {
    Lanes lanes = {};
    std::fill_n(lanes.min, kLanes, kInfinity);
    std::fill_n(lanes.max, kLanes, -kInfinity);
    LookAtAll(&lanes, values + first, std::min(kPart, count - first));
    for (size_t j = 0; j < kLanes; ++j) {
      stats->min = std::min(stats->min, lanes.min[j]);
      stats->max = std::max(stats->max, lanes.max[j]);
      stats->finite &= lanes.odd[j] == 0;
      stats->zeros += lanes.zeros[j];
    }
  }
  if (stats->min > stats->max) stats->min = stats->max = 0;
  stats->abs_max = std::max(std::fabs(stats->min), std::fabs(stats->max));
  return OSQ_OK;
}
