// Inner loops of product_kernels.h that are the same for every instruction set: the file that includes this
// one defines OSQ_TARGET and kWidth, the floats of a vector.
namespace osq {
namespace {

typedef float Vector __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

#ifdef __clang__
#define OSQ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OSQ_UNROLL _Pragma("GCC unroll 16")
#endif

OSQ_TARGET OSQ_INLINE Vector LoadVector(const float* from) { return *reinterpret_cast<const Vector*>(from); }
OSQ_TARGET OSQ_INLINE void StoreVector(float* to, Vector v) { *reinterpret_cast<Vector*>(to) = v; }
OSQ_TARGET OSQ_INLINE Vector Broadcast(float value) { return value - Vector{}; }  // keeps -0

// Sums in flight: one waits for the one before it, so that a few vectors are summed up in several sets.
constexpr int SetsOf(int vectors) { return vectors <= 3 ? 4 : vectors <= 5 ? 2 : 1; }

template <int kVectors>
OSQ_TARGET OSQ_INLINE void AddProduct(float value, const float* in, Vector* sums) {
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) sums[v] += value * LoadVector(in + v * kWidth);
}

template <int kVectors>
OSQ_TARGET OSQ_INLINE void BeginSums(const PanelSums& place, size_t row, Vector* sums) {
  const Vector bias = Broadcast(place.bias == nullptr ? 0.0f : place.bias[row]);
  const float* const from = place.from + row * place.from_stride;
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) sums[v] = place.from == nullptr ? bias : LoadVector(from + v * kWidth);
}

template <int kVectors, int kSets>
OSQ_TARGET OSQ_INLINE void EndSums(const PanelSums& place, size_t row, const Vector (*sums)[kVectors]) {
  float* const out = place.out + row * place.out_stride;
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    Vector sum = sums[0][v];
    OSQ_UNROLL
    for (int set = 1; set < kSets; ++set) sum += sums[set][v];
    StoreVector(out + v * kWidth, sum);
  }
}

template <int kVectors>
OSQ_TARGET void MultiplyAs(const PanelBlock& block) {
  constexpr size_t kSets = SetsOf(kVectors), kStride = kVectors * kWidth;
  const float* values = block.values;
  const uint8_t* index = block.index;
  const float* const in = block.in;
  const PanelSums place = block.sums;
  const RowRun* const end = block.runs + block.rows;
  for (const RowRun* run = block.runs; run < end; ++run) {
    const size_t count = run->count;
    Vector sums[kSets][kVectors] = {};
    BeginSums<kVectors>(place, run->row, sums[0]);
    const auto add = [&](size_t i, size_t set) OSQ_TARGET {
      AddProduct<kVectors>(values[i], in + size_t{index[i]} * kStride, sums[set]);
    };
    for (const float* const last = values + count / kSets * kSets; values < last;
         values += kSets, index += kSets) {
      __builtin_prefetch(values + 256);
      OSQ_UNROLL
      for (size_t set = 0; set < kSets; ++set) add(set, set);
    }
    if (kSets == 4 && count % 4 >= 2) {
      add(0, 1);
      add(1, 2);
      values += 2;
      index += 2;
    }
    if (kSets > 1 && count % 2 != 0) {
      add(0, kSets - 1);
      ++values;
      ++index;
    }
    EndSums<kVectors, kSets>(place, run->row, sums);
  }
}

void Multiply(const PanelBlock& block, size_t vectors) {
  static_assert(kMaxVectors == 8);
  constexpr void (*kFunctions[])(const PanelBlock&) = {MultiplyAs<1>, MultiplyAs<2>, MultiplyAs<3>,
                                                       MultiplyAs<4>, MultiplyAs<5>, MultiplyAs<6>,
                                                       MultiplyAs<7>, MultiplyAs<8>};
  kFunctions[vectors - 1](block);
}

OSQ_TARGET void Collect(const float* from, const uint32_t* table, size_t columns, const PanelPiece* pieces,
                        size_t count, size_t pitch, float* out) {
  for (size_t c = 0; c < columns; ++c, out += pitch) {
    const float* const column = from + table[c];
    for (const PanelPiece* piece = pieces; piece < pieces + count; ++piece) {
      const float* const run = column + piece->from;
      float* const to = out + piece->to;
      for (size_t v = 0; v < piece->vectors; ++v) StoreVector(to + v * kWidth, LoadVector(run + v * kWidth));
    }
  }
}

OSQ_TARGET void Add(const float* from, float* to, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] += from[i];
}

// The quotient of two polynomials closest to erf(x) / x on [0, 3.92], beyond which erf is 1 in float32: off
// by less than 2e-8 before rounding.
OSQ_TARGET OSQ_INLINE float Erf(float x) {
  constexpr float kEnd = 3.92f;
  x = x > kEnd ? kEnd : x < -kEnd ? -kEnd : x;
  const float t = x * x;
  float p = 2.050087687166524e-06f, q = 3.809175541391596e-05f;
  p = p * t + 0.000284883426502347f;
  q = q * t + 0.0011625407496467233f;
  p = p * t + 0.0037656365893781185f;
  q = q * t + 0.014969255775213242f;
  p = p * t + 0.05274878442287445f;
  q = q * t + 0.11410929262638092f;
  p = p * t + 0.1904068887233734f;
  q = q * t + 0.5020764470100403f;
  p = p * t + 1.1283791065216064f;
  return x * p / (q * t + 1.0f);
}

// A value that is not a number stays so.
OSQ_TARGET void Activate(Activation activation, float low, float high, float* values, size_t n) {
  switch (activation) {
    case Activation::kNone:
      break;
    case Activation::kRelu:
      for (size_t i = 0; i < n; ++i) values[i] = values[i] < 0 ? 0 : values[i];
      break;
    case Activation::kClip:
      for (size_t i = 0; i < n; ++i) values[i] = values[i] < low ? low : values[i] > high ? high : values[i];
      break;
    case Activation::kHardSwish:
      for (size_t i = 0; i < n; ++i) {
        const float gate = values[i] / 6 + 0.5f;
        values[i] *= gate < 0 ? 0 : gate > 1 ? 1 : gate;
      }
      break;
    case Activation::kGelu:
      for (size_t i = 0; i < n; ++i) values[i] = 0.5f * values[i] * (1 + Erf(values[i] * 0.70710678f));
      break;
  }
}

}  // namespace
}  // namespace osq
