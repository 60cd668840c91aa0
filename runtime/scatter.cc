// Sparse layouts (FORMAT 4.3 and 4.4).
#include <algorithm>
#include <cstring>

#include "bits.h"
#include "codec.h"
#include "parallel.h"

namespace osq {
namespace {

template <typename Item>
void ScatterGaps(const uint8_t* distances, const uint8_t* values, size_t entries, size_t total,
                 uint8_t* out) {
  constexpr size_t kAhead =
      1 << 14;  // zeroed just before it is written, while near; more than 64 distances reach
  size_t position = 0, zeroed = 0;
  for (size_t first = 0; first < entries; first += 64) {
    if (position + kAhead > zeroed) {
      const size_t end = std::min(total, position + 2 * kAhead);
      std::memset(out + zeroed * sizeof(Item), 0, (end - zeroed) * sizeof(Item));
      zeroed = end;
    }
    const size_t end = std::min(entries, first + 64);
    for (size_t i = first; i < end; ++i) {
      position += distances[i];
      std::memcpy(out + position * sizeof(Item), values + i * sizeof(Item), sizeof(Item));
    }
  }
  std::memset(out + zeroed * sizeof(Item), 0, (total - zeroed) * sizeof(Item));
}
static_assert(64 * 255 < (1 << 14), "a run of 64 distances stays within what is zeroed ahead");

template <typename Item>
int ScatterNm(const uint8_t* positions, const uint8_t* values, size_t rows, size_t size, size_t kept,
              uint8_t* out) {
  std::memset(out, 0, rows * size * sizeof(Item));
  for (size_t row = 0; row < rows; ++row, out += size * sizeof(Item)) {
    int before = -1;
    for (size_t i = 0; i < kept; ++i, values += sizeof(Item)) {
      const int position = *positions++;
      if (position <= before) return OSQ_ORDER;
      if (static_cast<size_t>(position) >= size) return OSQ_GROUP;
      std::memcpy(out + position * sizeof(Item), values, sizeof(Item));
      before = position;
    }
  }
  return OSQ_OK;
}

}  // namespace
}  // namespace osq

using namespace osq;

int osq_scatter_gaps(const uint8_t* distances, const void* values, size_t entries, size_t item_size,
                     size_t total, void* out) {
  if (distances == nullptr || values == nullptr || out == nullptr || entries < 1) return OSQ_BAD_ARGUMENT;
  if (total >= kMaxElements) return OSQ_TOO_LARGE;
  if (entries > total) return OSQ_POSITION;
  uint64_t last = 0;
  bool zero = false;
  for (size_t i = 0; i < entries; ++i) {
    last += distances[i];
    zero |= distances[i] == 0 && i > 0;
  }
  if (zero) return OSQ_DISTANCE;
  if (last >= total) return OSQ_POSITION;
  const auto* from = static_cast<const uint8_t*>(values);
  auto* to = static_cast<uint8_t*>(out);
  if (item_size != 2 && item_size != 4 && item_size != 8) return OSQ_BAD_ARGUMENT;
  const auto scatter = item_size == 2   ? ScatterGaps<uint16_t>
                       : item_size == 4 ? ScatterGaps<uint32_t>
                                        : ScatterGaps<uint64_t>;
  scatter(distances, from, entries, total, to);
  return OSQ_OK;
}

int osq_scatter_nm(const uint8_t* positions, const void* values, size_t rows, size_t size, size_t kept,
                   size_t item_size, void* out) {
  if (positions == nullptr || values == nullptr || out == nullptr) return OSQ_BAD_ARGUMENT;
  if (size > 256 || kept < 1 || kept >= size) return OSQ_BAD_ARGUMENT;
  if (rows >= kMaxElements || rows * size >= kMaxElements) return OSQ_TOO_LARGE;
  if (item_size != 2 && item_size != 4 && item_size != 8) return OSQ_BAD_ARGUMENT;
  const auto scatter = item_size == 2   ? ScatterNm<uint16_t>
                       : item_size == 4 ? ScatterNm<uint32_t>
                                        : ScatterNm<uint64_t>;
  return scatter(positions, static_cast<const uint8_t*>(values), rows, size, kept,
                 static_cast<uint8_t*>(out));
}
