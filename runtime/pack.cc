// Packed streams (FORMAT 3.1).
#include "pack.h"

#include <algorithm>

#include "codec.h"
#include "parallel.h"

namespace osq {

Planes PlanesOf(int bits) {
  Planes planes{0, {}};
  if (bits == 8) return {1, {8}};
  for (int width = 4; width > 0; width /= 2) {
    if (bits & width) planes.widths[planes.count++] = width;
  }
  return planes;
}

int PackedStream::Open(const uint8_t* payload, const int64_t* sizes, int k, size_t count) {
  bits = k;
  const Planes planes = PlanesOf(k);
  const size_t blocks = (count + 7) / 8;
  for (int i = 0; i < planes.count; ++i) {
    if (sizes[i] < 0 || static_cast<uint64_t>(sizes[i]) != planes.widths[i] * blocks) return OSQ_PLANE_LENGTH;
    plane[i] = payload;
    const size_t used = planes.widths[i] * count;
    if (LoadBits(payload, used, 8 * static_cast<size_t>(sizes[i]) - used) != 0) return OSQ_PLANE_UNUSED;
    payload += sizes[i];
  }
  return OSQ_OK;
}

void PackedStream::Read(const Kernels& kernels, size_t first, size_t n, bool merge, uint8_t* out) const {
  const Planes planes = PlanesOf(bits);
  int shift = bits;
  for (int i = 0; i < planes.count; ++i) {
    const int width = planes.widths[i];
    shift -= width;
    kernels.spread(plane[i] + first / 8 * width, width, shift, merge || i > 0, n, out);
  }
}

int CheckSegments(const int64_t* sizes, size_t segments, size_t payload_bytes) {
  uint64_t left = payload_bytes;
  for (size_t i = 0; i < segments; ++i) {
    if (sizes[i] < 0 || static_cast<uint64_t>(sizes[i]) > left) return OSQ_SEGMENTS;
    left -= static_cast<uint64_t>(sizes[i]);
  }
  return left == 0 ? OSQ_OK : OSQ_SEGMENTS;
}

}  // namespace osq

using namespace osq;

namespace {
constexpr size_t kBlock =
    1 << 14;  // elements, a multiple of 8: what is written for one plane is still near for the next
}

int osq_pack(const uint8_t* values, size_t count, int k, uint8_t* payload, size_t payload_bytes) {
  if (k < 1 || k > 8 || (count > 0 && (values == nullptr || payload == nullptr))) return OSQ_BAD_ARGUMENT;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  const size_t blocks = (count + 7) / 8;
  if (payload_bytes != k * blocks) return OSQ_BAD_ARGUMENT;
  const Kernels& kernels = ActiveKernels();
  const Planes planes = PlanesOf(k);
  uint8_t used = 0;
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first);
    for (size_t i = first; i < first + n; ++i) used |= values[i];
    uint8_t* plane = payload;
    int shift = k;
    for (int i = 0; i < planes.count; ++i) {
      const int width = planes.widths[i];
      shift -= width;
      kernels.gather(values + first, width, shift, n, plane + first / 8 * width);
      plane += width * blocks;
    }
  }
  return used >> k == 0 ? OSQ_OK : OSQ_VALUE;
}

int osq_unpack(const uint8_t* payload, size_t payload_bytes, const int64_t* sizes, size_t segments, int k,
               size_t count, uint8_t* values) {
  if (k < 1 || k > 8 || (segments > 0 && sizes == nullptr)) return OSQ_BAD_ARGUMENT;
  if (count > 0 && (values == nullptr || payload == nullptr)) return OSQ_BAD_ARGUMENT;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  if (segments != static_cast<size_t>(PlanesOf(k).count)) return OSQ_SEGMENT_COUNT;
  if (const int status = CheckSegments(sizes, segments, payload_bytes)) return status;
  PackedStream stream;
  if (const int status = stream.Open(payload, sizes, k, count)) return status;
  for (size_t first = 0; first < count; first += kBlock) {
    stream.Read(ActiveKernels(), first, std::min(kBlock, count - first), false, values + first);
  }
  return OSQ_OK;
}
