// What is known of the neighbours of an element whose difference is coded (ota/UPDATE.md, section 5).
#ifndef ONNXSQUEEZE_DELTA_PLACES_H_
#define ONNXSQUEEZE_DELTA_PLACES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bits.h"

namespace osq {

OSQ_INLINE int LengthOf(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }

OSQ_INLINE uint32_t SignOf(int step) { return step == 0 ? 0 : step > 0 ? 1 : 2; }

// What is known where an element is coded: its neighbours' differences, as length times sign.
class Places {
 public:
  Places(size_t count, size_t width) : width_(width), steps_(count), rates_(width), signs_(width) {}

  OSQ_INLINE int At(size_t i, size_t back) const { return i >= back ? steps_[i - back] : 0; }

  // Looks around element `i`.
  OSQ_INLINE void Look(size_t i) {
    column = static_cast<uint32_t>(i % width_);
    if (column == 0) {
      row = static_cast<uint32_t>(i / width_);
      row_rate = 0;
      row_sign = 0;
    }
    left = At(i, 1), left2 = At(i, 2), left3 = At(i, 3);
    up = At(i, width_), up_left = At(i, width_ + 1), up2 = At(i, 2 * width_);
    up_right = width_ > 1 ? At(i, width_ - 1) : 0;
    column_rate = rates_[column];
    column_sign = signs_[column];
  }

  OSQ_INLINE void Note(size_t i, int step) {
    steps_[i] = static_cast<int8_t>(step);
    const int length = step < 0 ? -step : step, sign = (step > 0) - (step < 0);
    row_rate += (length * 64 - row_rate) / 8;
    slow_rate += (length * 64 - slow_rate) / 64;
    rates_[column] = static_cast<int16_t>(column_rate + (length * 64 - column_rate) / 4);
    row_sign = std::clamp(row_sign + sign, -7, 7);
    signs_[column] = static_cast<int8_t>(std::clamp(column_sign + sign, -7, 7));
  }

  int left = 0, left2 = 0, left3 = 0, up = 0, up_left = 0, up_right = 0, up2 = 0;
  int row_rate = 0, slow_rate = 0, column_rate = 0, row_sign = 0, column_sign = 0;
  uint32_t row = 0, column = 0;

 private:
  size_t width_;
  std::vector<int8_t> steps_;
  std::vector<int16_t> rates_;
  std::vector<int8_t> signs_;
};

// A rate of changes in 16 levels or so.
OSQ_INLINE uint32_t Level(int rate) {
  const int length = LengthOf(static_cast<uint64_t>(rate));
  return length < 3 ? length : static_cast<uint32_t>(2 * length + (rate >> (length - 2) & 1) - 3);
}

}  // namespace osq

#endif  // ONNXSQUEEZE_DELTA_PLACES_H_
