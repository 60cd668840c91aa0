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
constexpr int SetsOf(int vectors) { return vectors <= 3 ? 4 : 2; }

template <int kVectors>
OSQ_TARGET OSQ_INLINE void AddProduct(float value, const float* in, Vector* sums) {
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) sums[v] += value * LoadVector(in + v * kWidth);
}

template <int kVectors>
OSQ_TARGET OSQ_INLINE void BeginSums(const PanelSums& place, size_t row, Vector* sums) {
  if (place.bias != nullptr) {
    OSQ_UNROLL
    for (int v = 0; v < kVectors; ++v) sums[v] = Broadcast(place.bias[row]);
  }
  if (place.from == nullptr) return;
  const float* const from = place.from + row * place.from_stride;
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) sums[v] += LoadVector(from + v * kWidth);
}

// A value that is not a number stays so.
OSQ_TARGET OSQ_INLINE Vector Bound(Vector sum, float low, float high) {
  const Vector least = Broadcast(low), most = Broadcast(high);
  sum = sum < least ? least : sum;
  return sum > most ? most : sum;
}

template <int kVectors, int kSets>
OSQ_TARGET OSQ_INLINE void EndSums(const PanelSums& place, float* out, const Vector (*sums)[kVectors]) {
  OSQ_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    Vector sum = sums[0][v];
    OSQ_UNROLL
    for (int set = 1; set < kSets; ++set) sum += sums[set][v];
    if (place.is_bound) sum = Bound(sum, place.low, place.high);
    StoreVector(out + v * kWidth, sum);
  }
}

template <int kVectors>
OSQ_TARGET OSQ_INLINE void BringNear(const PanelNext& next, size_t i, const float* out) {
  if (next.out_is_far) {
    OSQ_UNROLL
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(out + v * kWidth, 1, 3);
  }
  if (i < next.columns) {
    const float* const in = next.in + next.table[i];
    OSQ_UNROLL
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(in + v * kWidth, 0, 2);
  }
}

// kInner: sums begin and end side by side in the same place, and nothing else is to be done.
template <int kVectors, bool kInner>
OSQ_TARGET void MultiplyAs(const PanelBlock& block) {
  constexpr size_t kSets = SetsOf(kVectors), kStride = kVectors * kWidth, kUnroll = 4;
  const float* values = block.values;
  const uint8_t* index = block.index;
  const float* const in = block.in;
  const RowRun *const begin = block.runs, *const end = begin + block.rows;
  const PanelSums place = block.sums;
  const PanelNext next = block.next;
  for (const RowRun* run = begin; run < end; ++run) {
    const size_t count = run->count, row = run->row;
    float* const out = place.out + row * (kInner ? kStride : place.out_stride);
    Vector sums[kSets][kVectors] = {};
    if constexpr (kInner) {
      OSQ_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[0][v] = LoadVector(out + v * kWidth);
    } else {
      BringNear<kVectors>(next, static_cast<size_t>(run - begin), out);
      BeginSums<kVectors>(place, row, sums[0]);
    }
    const auto add = [&](size_t i, size_t set) OSQ_TARGET {
      AddProduct<kVectors>(values[i], in + size_t{index[i]} * kStride, sums[set]);
    };
    size_t i = 0;
    for (; i + kUnroll <= count; i += kUnroll) {
      OSQ_UNROLL
      for (size_t k = 0; k < kUnroll; ++k) add(i + k, k % kSets);
    }
    for (; i < count; ++i) add(i, 0);
    values += count;
    index += count;
    __builtin_prefetch(values + 256);
    EndSums<kVectors, kSets>(kInner ? PanelSums{} : place, out, sums);
  }
}

void Multiply(const PanelBlock& block, size_t vectors) {
  static_assert(kMaxVectors == 4);
  constexpr void (*kFunctions[][2])(const PanelBlock&) = {{MultiplyAs<1, false>, MultiplyAs<1, true>},
                                                          {MultiplyAs<2, false>, MultiplyAs<2, true>},
                                                          {MultiplyAs<3, false>, MultiplyAs<3, true>},
                                                          {MultiplyAs<4, false>, MultiplyAs<4, true>}};
  const PanelSums& sums = block.sums;
  const bool is_inner = sums.from == sums.out && sums.out_stride == vectors * kWidth &&
                        sums.bias == nullptr && !sums.is_bound && block.next.columns == 0 &&
                        !block.next.out_is_far;
  kFunctions[vectors - 1][is_inner](block);
}

template <int kVectors>
OSQ_TARGET void CollectAs(const float* from, const uint32_t* table, size_t columns, float* out) {
  for (size_t c = 0; c < columns; ++c, out += kVectors * kWidth) {
    OSQ_UNROLL
    for (int v = 0; v < kVectors; ++v)
      StoreVector(out + v * kWidth, LoadVector(from + table[c] + v * kWidth));
  }
}

// Of one run a column, of `vectors` vectors.
void CollectRuns(const float* from, const uint32_t* table, size_t columns, size_t vectors, float* out) {
  constexpr void (*kFunctions[])(const float*, const uint32_t*, size_t, float*) = {
      CollectAs<1>, CollectAs<2>, CollectAs<3>, CollectAs<4>};
  kFunctions[vectors - 1](from, table, columns, out);
}

OSQ_TARGET void Collect(const float* from, const uint32_t* table, size_t columns, const PanelPiece* pieces,
                        size_t count, size_t pitch, float* out) {
  if (count == 1 && pieces->vectors * kWidth == pitch) {
    return CollectRuns(from + pieces->from, table, columns, pieces->vectors, out);
  }
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

// A value that is not a number stays so, but for kThreshold.
OSQ_TARGET void Activate(Activation activation, float low, float high, float* values, size_t n) {
  switch (activation) {
    case Activation::kNone:
      break;
    case Activation::kRelu:
      for (size_t i = 0; i < n; ++i) values[i] = values[i] < 0 ? 0 : values[i];
      break;
    case Activation::kThreshold:
      for (size_t i = 0; i < n; ++i) values[i] = values[i] > low ? values[i] : 0;
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
