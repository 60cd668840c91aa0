// Indices to values: codebook, scale per channel, conversion of type (FORMAT 4.2 and 4.5).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec.h"
#include "kernels.h"
#include "parallel.h"

namespace osq {
namespace {

constexpr size_t kBlock = 1 << 12;  // values converted together

int CheckScale(const osq_scale* scale, size_t count) {
  if (scale == nullptr) return OSQ_OK;
  if (scale->table == nullptr || scale->codes == nullptr) return OSQ_BAD_ARGUMENT;
  if (scale->entries < 1 || scale->entries > 256) return OSQ_BAD_ARGUMENT;
  for (const size_t size : {scale->outer, scale->channels, scale->inner}) {
    if (size < 1 || size >= kMaxElements) return OSQ_BAD_ARGUMENT;
  }
  if (scale->outer * scale->channels >= kMaxElements) return OSQ_BAD_ARGUMENT;
  if (scale->outer * scale->channels * scale->inner != count) return OSQ_BAD_ARGUMENT;
  for (size_t i = 0; i < scale->entries; ++i) {
    if (!std::isfinite(scale->table[i]) || scale->table[i] <= 0) return OSQ_SCALE_VALUE;
  }
  const uint8_t largest = *std::max_element(scale->codes, scale->codes + scale->channels);
  return largest < scale->entries ? OSQ_OK : OSQ_SCALE_CODE;
}

// Multiplies elements `first` ... `first` + n - 1 of a weight by their channels' scales.
void Multiply(const osq_scale& scale, size_t first, size_t n, const float* values, float* out) {
  size_t channel = first / scale.inner % scale.channels;
  size_t left = scale.inner - first % scale.inner;
  if (scale.inner == 1) {
    for (size_t i = 0; i < n;) {
      const size_t run = std::min(n - i, scale.channels - channel);
      for (size_t j = 0; j < run; ++j) out[i + j] = values[i + j] * scale.table[scale.codes[channel + j]];
      i += run;
      channel = 0;
    }
    return;
  }
  for (size_t i = 0; i < n; left = scale.inner, channel = channel + 1 == scale.channels ? 0 : channel + 1) {
    const size_t end = std::min(n, i + left);
    const float factor = scale.table[scale.codes[channel]];
    for (; i < end; ++i) out[i] = values[i] * factor;
  }
}

// Where values of some type go.
struct Sink {
  int type;
  void* out;

  void Put(const Kernels& kernels, size_t first, const float* values, size_t n) const {
    if (type == OSQ_FLOAT) std::memcpy(static_cast<float*>(out) + first, values, n * sizeof(float));
    if (type == OSQ_FLOAT16) kernels.to_half(values, n, static_cast<uint16_t*>(out) + first);
    if (type == OSQ_DOUBLE) std::copy_n(values, n, static_cast<double*>(out) + first);
  }
};

// Fetches blocks of values with `fetch(first, n, block)`, scales, converts and stores them.
template <typename Fetch>
void Produce(size_t count, const osq_scale* scale, Sink sink, Fetch fetch) {
  const Kernels& kernels = ActiveKernels();
  alignas(64) float block[kBlock];
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first);
    float* const values = sink.type == OSQ_FLOAT ? static_cast<float*>(sink.out) + first : block;
    fetch(first, n, values);
    if (scale != nullptr) Multiply(*scale, first, n, values, values);
    if (values == block) sink.Put(kernels, first, block, n);
  }
}

uint8_t Largest(const uint8_t* indices, size_t n) {
  uint8_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, indices[i]);
  return largest;
}

// Looks up in a codebook that is of the output's type already.
template <typename Item>
void LookupItems(const uint8_t* indices, size_t n, const Item* codebook, Item* out) {
  for (size_t i = 0; i < n; ++i) out[i] = codebook[indices[i]];
}

// Without a scale the codebook is converted, instead of every value.
void LookupConverted(const uint8_t* indices, size_t count, const float* codebook, int type, void* out) {
  if (type == OSQ_FLOAT16) {
    uint16_t converted[256];
    ActiveKernels().to_half(codebook, 256, converted);
    LookupItems(indices, count, converted, static_cast<uint16_t*>(out));
  } else {
    double converted[256];
    std::copy_n(codebook, 256, converted);
    LookupItems(indices, count, converted, static_cast<double*>(out));
  }
}

bool IsType(int type) { return type == OSQ_FLOAT || type == OSQ_FLOAT16 || type == OSQ_DOUBLE; }

}  // namespace
}  // namespace osq

using namespace osq;

int osq_lookup(const uint8_t* indices, size_t count, const float* codebook, size_t entries,
               const osq_scale* scale, int type, void* out) {
  const bool missing = indices == nullptr || codebook == nullptr || out == nullptr;
  if (missing || entries < 1 || entries > 256 || !IsType(type)) return OSQ_BAD_ARGUMENT;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  if (const int status = CheckScale(scale, count)) return status;
  alignas(64) float padded[256] = {};
  std::copy_n(codebook, entries, padded);
  if (scale == nullptr && type != OSQ_FLOAT) {
    if (Largest(indices, count) >= entries) return OSQ_INDEX;
    LookupConverted(indices, count, padded, type, out);
    return OSQ_OK;
  }
  const Kernels& kernels = ActiveKernels();
  uint8_t largest = 0;
  Produce(count, scale, Sink{type, out}, [&](size_t first, size_t n, float* values) {
    largest = std::max(largest, Largest(indices + first, n));
    kernels.lookup(indices + first, n, padded, entries, values);
  });
  return largest < entries ? OSQ_OK : OSQ_INDEX;
}

int osq_rescale(const float* values, size_t count, const osq_scale* scale, int type, void* out) {
  if (values == nullptr || out == nullptr || !IsType(type)) return OSQ_BAD_ARGUMENT;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  if (const int status = CheckScale(scale, count)) return status;
  Produce(count, scale, Sink{type, out},
          [&](size_t first, size_t n, float* to) { std::copy_n(values + first, n, to); });
  return OSQ_OK;
}
