// Products with N:M weights, written once and compiled for each instruction set: the file that includes this
// one and product_inner.h defines Integers, a vector of kWidth uint32_t; Pick<kBits>(x, at), which picks
// x[the low kBits bits of each lane]; and kNmBatch, the most vectors whose sums fit the registers.
namespace osq {
namespace {

template <int kBits, size_t kBatch>
OSQ_TARGET void MultiplyNmAs(const NmBlock& block, float* sums) {
  constexpr size_t kParts = 16 / kWidth, kSlots = NmBlock::SlotsOf(kBits), kGroup = size_t{1} << kBits;
  constexpr size_t kSets = kBatch == 1 ? 2 : 1;  // sums in flight: one waits for the one before it
  Vector totals[kSets][kBatch][kParts] = {};
  const float *values = block.steps, *x = block.x;
  const size_t groups = kSlots >> block.kept_log;
  for (size_t step = 0; step < block.count; ++step, x += groups * kBatch * kGroup) {
    Integers words[kParts];
    OSQ_UNROLL
    for (size_t part = 0; part < kParts; ++part) {
      words[part] = LoadIntegers(reinterpret_cast<const uint32_t*>(values) + part * kWidth);
    }
    values += 16;
    OSQ_UNROLL
    for (size_t slot = 0; slot < kSlots; ++slot, values += 16) {
      const float* const group = x + (slot >> block.kept_log) * (kBatch * kGroup);
      __builtin_prefetch(values + 512);
      OSQ_UNROLL
      for (size_t part = 0; part < kParts; ++part) {
        const Vector weight = LoadVector(values + part * kWidth);
        OSQ_UNROLL
        for (size_t b = 0; b < kBatch; ++b) {
          totals[slot % kSets][b][part] += weight * Pick<kBits>(group + b * kGroup, words[part]);
        }
        words[part] >>= kBits;
      }
    }
  }
  OSQ_UNROLL
  for (size_t b = 0; b < kBatch; ++b) {
    OSQ_UNROLL
    for (size_t part = 0; part < kParts; ++part) {
      Vector sum = totals[0][b][part];
      if (kSets == 2) sum += totals[kSets - 1][b][part];
      StoreVector(sums + b * 16 + part * kWidth, sum);
    }
  }
}

template <int kBits>
void MultiplyNmBy(const NmBlock& block, size_t batch, float* sums) {
  switch (batch) {
    case 1:
      return MultiplyNmAs<kBits, 1>(block, sums);
    case 2:
      return MultiplyNmAs<kBits, 2>(block, sums);
    case 4:
      return MultiplyNmAs<kBits, std::min<size_t>(4, kNmBatch)>(block, sums);
    case 8:
      return MultiplyNmAs<kBits, std::min<size_t>(8, kNmBatch)>(block, sums);
    default:
      return MultiplyNmAs<kBits, kNmBatch>(block, sums);
  }
}

void MultiplyNm(const NmBlock& block, int bits, size_t batch, float* sums) {
  constexpr void (*kFunctions[])(const NmBlock&, size_t, float*) = {MultiplyNmBy<2>, MultiplyNmBy<3>,
                                                                    MultiplyNmBy<4>};
  kFunctions[bits - 2](block, batch, sums);
}

}  // namespace
}  // namespace osq
