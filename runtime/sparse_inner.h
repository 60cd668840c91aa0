// The inner loops of sparse.h, written once and compiled for each instruction set: the file that includes
// this one defines OSQ_TARGET, kWidth (floats a vector) and GatherVector(in, index).
namespace osq {
namespace {

typedef float Vector __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

constexpr int kChains =
    32 / kWidth < 8 ? 8 : 32 / kWidth;  // sums in flight: a sum waits for the one before it

// kSets sums of every vector, each over every kSets-th value.
template <int kVectors, typename Index>
OSQ_TARGET OSQ_INLINE void MultiplyRun(const float* values, const Index* index, size_t n,
                                       const uint32_t* table, const float* in, float* out) {
  constexpr int kSets = kChains / kVectors < 1 ? 1 : kChains / kVectors > 4 ? 4 : kChains / kVectors;
  Vector sums[kSets][kVectors] = {};
  for (int v = 0; v < kVectors; ++v) sums[0][v] = *reinterpret_cast<const Vector*>(out + v * kWidth);
  size_t i = 0;
  for (; i + kSets <= n; i += kSets) {
    for (int set = 0; set < kSets; ++set) {
      const float* const run = in + table[index[i + static_cast<size_t>(set)]];
      const float value = values[i + static_cast<size_t>(set)];
      for (int v = 0; v < kVectors; ++v) {
        sums[set][v] += value * *reinterpret_cast<const Vector*>(run + v * kWidth);
      }
    }
  }
  for (; i < n; ++i) {
    const float* const run = in + table[index[i]];
    for (int v = 0; v < kVectors; ++v) {
      sums[0][v] += values[i] * *reinterpret_cast<const Vector*>(run + v * kWidth);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    Vector sum = sums[0][v];
    for (int set = 1; set < kSets; ++set) sum += sums[set][v];
    *reinterpret_cast<Vector*>(out + v * kWidth) = sum;
  }
}

template <int kVectors, typename Index>
OSQ_TARGET void MultiplyColumns(const SparseBlock<Index>& block, const float* in, size_t width, float* out) {
  for (size_t r = 0; r < block.rows; ++r) {
    const size_t begin = block.begins[r * block.step], n = block.ends[r * block.step] - begin;
    MultiplyRun<kVectors>(block.values + begin, block.index + begin, n, block.table, in, out + r * width);
  }
}

template <typename Index>
OSQ_TARGET void Multiply(const SparseBlock<Index>& block, const float* in, size_t width, float* out) {
  constexpr int kPerSixteen = 16 / kWidth;
  constexpr size_t kMost = kWidth == 16 ? 4 : 2;  // sixteens that fit the registers
  size_t done = 0;
  for (; width - done >= 16 * kMost; done += 16 * kMost) {
    MultiplyColumns<kMost * kPerSixteen>(block, in + done, width, out + done);
  }
  for (; kMost == 4 && width - done >= 32; done += 32) {
    MultiplyColumns<2 * kPerSixteen>(block, in + done, width, out + done);
  }
  if (done < width) MultiplyColumns<kPerSixteen>(block, in + done, width, out + done);
}

template <typename Index>
OSQ_TARGET float Dot(const float* values, const Index* index, size_t n, const float* in) {
  Vector sums[4] = {};
  size_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    for (int v = 0; v < 4; ++v) {
      const size_t at = i + static_cast<size_t>(v * kWidth);
      sums[v] += *reinterpret_cast<const Vector*>(values + at) * GatherVector(in, index + at);
    }
  }
  const Vector all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = 0;
  for (int lane = 0; lane < kWidth; ++lane) sum += all[lane];
  for (; i < n; ++i) sum += values[i] * in[index[i]];
  return sum;
}

}  // namespace
}  // namespace osq
