// Products with shared weights, written once and compiled for each instruction set: the file that includes
// this one and product_inner.h defines Integers, a vector of kWidth uint32_t, and Codebook<kBits>, whose
// At(indices) looks up the low kBits bits of each.
namespace osq {
namespace {

template <int kBits, size_t kRows, size_t kBatch>
OSQ_TARGET void MultiplySharedAs(const SharedBlock& block, float* sums) {
  constexpr size_t kFields = 32 / kBits;
  const Codebook<kBits> codebook(block.codebook);
  Vector totals[kRows][kBatch] = {};
  for (size_t step = 0; step < block.steps; ++step) {
    for (size_t part = 0; part < 16; part += kWidth) {
      const float* x = block.x + step * 16 * kFields + part;
      Integers words[kRows];
      OSQ_UNROLL
      for (size_t r = 0; r < kRows; ++r) {
        const uint32_t* const at = block.words[r] + 16 * step + part;
        __builtin_prefetch(at + kRows * block.steps * 16, 0, 2);  // the row that comes next in its place
        words[r] = LoadIntegers(at);
      }
      for (size_t field = 0; field < kFields; ++field, x += 16) {
        Vector values[kRows];
        OSQ_UNROLL
        for (size_t r = 0; r < kRows; ++r) {
          values[r] = codebook.At(words[r]);
          words[r] >>= kBits;
        }
        OSQ_UNROLL
        for (size_t b = 0; b < kBatch; ++b) {
          const Vector factor = LoadVector(x + b * block.stride);
          OSQ_UNROLL
          for (size_t r = 0; r < kRows; ++r) totals[r][b] += values[r] * factor;
        }
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t b = 0; b < kBatch; ++b) {
      float sum = 0;
      for (size_t lane = 0; lane < kWidth; ++lane) sum += totals[r][b][lane];
      sums[r * kBatch + b] = sum;
    }
  }
}

template <int kBits>
void MultiplySharedBy(const SharedBlock& block, size_t batch, float* sums) {
  switch (batch) {
    case 1:
      return MultiplySharedAs<kBits, SharedBlock::RowsFor(1), 1>(block, sums);
    case 2:
      return MultiplySharedAs<kBits, SharedBlock::RowsFor(2), 2>(block, sums);
    case 4:
      return MultiplySharedAs<kBits, SharedBlock::RowsFor(4), 4>(block, sums);
    default:
      return MultiplySharedAs<kBits, SharedBlock::RowsFor(8), 8>(block, sums);
  }
}

void MultiplyShared(const SharedBlock& block, int bits, size_t batch, float* sums) {
  constexpr void (*kFunctions[])(const SharedBlock&, size_t, float*) = {
      MultiplySharedBy<1>, MultiplySharedBy<2>, MultiplySharedBy<3>, MultiplySharedBy<4>,
      MultiplySharedBy<5>, MultiplySharedBy<6>, MultiplySharedBy<7>, MultiplySharedBy<8>};
  kFunctions[bits - 1](block, batch, sums);
}

}  // namespace
}  // namespace osq
