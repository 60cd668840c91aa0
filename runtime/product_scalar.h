// Inner loops of product_kernels.h element by element, for instruction sets without better ones of their own.
namespace osq {
namespace {

void Interleave(const float* const* from, size_t n, float* out, size_t stride) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t lane = 0; lane < kWidth; ++lane) out[i * stride + lane] = from[lane][i];
  }
}

void Part(const float* in, size_t stride, size_t n, size_t lanes, float* const* to) {
  for (size_t lane = 0; lane < lanes; ++lane) {
    for (size_t i = 0; i < n; ++i) to[lane][i] = in[i * stride + lane];
  }
}

void Slice(const float* values, const uint8_t* distance, size_t steps, const float* x, float* sums) {
  uint32_t at[16] = {};
  std::fill_n(sums, 16, 0.0f);
  for (size_t step = 0; step < steps; ++step) {
    for (size_t lane = 0; lane < 16; ++lane) {
      at[lane] += distance[16 * step + lane];
      sums[lane] += values[16 * step + lane] * x[at[lane]];
    }
  }
}

}  // namespace
}  // namespace osq
