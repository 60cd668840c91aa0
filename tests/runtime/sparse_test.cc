// Sparse products and convolutions against their definition in double, and for
// any number of tasks at once.
//
//   sparse_test [rounds [seed]]    Exits with 0 where all is well.
//   ONNXSQUEEZE_ISA picks the instruction set.
#include "sparse.h"

#include <cmath>
#include <cstdio>

#include "codec.h"
#include "codec_random.h"
#include "nm.h"

namespace {

using namespace osq;
using Floats = std::vector<float>;

// Sums of n products of numbers below 1 in float32 are off by less than this,
// times n.
constexpr double kBound = 2e-7;

float Number(Random* random) { return static_cast<float>(random->Below(1 << 20)) * 0x1p-19f - 1; }

Floats Numbers(Random* random, size_t count, size_t nonzero_in) {
  Floats values(count, 0.0f);
  for (float& value : values) {
    if (nonzero_in == 1 || random->Chance(nonzero_in)) value = Number(random);
  }
  return values;
}

// Runs tasks in an order that nothing may depend on.
void Backwards(size_t tasks, const std::function<void(size_t)>& body) {
  for (size_t task = tasks; task-- > 0;) body(task);
}

void Forwards(size_t tasks, const std::function<void(size_t)>& body) {
  for (size_t task = 0; task < tasks; ++task) body(task);
}

double Activate(const Epilogue& epilogue, double value) {
  switch (epilogue.activation) {
    case Activation::kNone:
      return value;
    case Activation::kRelu:
      return std::max(value, 0.0);
    case Activation::kThreshold:
      return value > epilogue.low ? value : 0;
    case Activation::kClip:
      return std::min(std::max(value, double{epilogue.low}), double{epilogue.high});
    case Activation::kHardSwish:
      return value * std::min(std::max(value / 6 + 0.5, 0.0), 1.0);
    case Activation::kGelu:
      return 0.5 * value * (1 + std::erf(value / std::sqrt(2.0)));
  }
  return value;
}

Epilogue RandomEpilogue(Random* random, size_t rows) {
  Epilogue epilogue;
  if (random->Chance(2)) epilogue.bias = Numbers(random, rows, 1);
  epilogue.activation = static_cast<Activation>(random->Below(6));
  epilogue.low = -0.5f;
  epilogue.high = 0.75f;
  return epilogue;
}

// Compares y with sums[i] of terms[i] products each.
void Expect(const Floats& y, const std::vector<double>& sums, const Epilogue& epilogue, size_t terms) {
  CHECK(y.size() == sums.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const double wanted = Activate(epilogue, sums[i]);
    if (epilogue.activation == Activation::kThreshold && std::fabs(sums[i] - epilogue.low) < 1e-3) continue;
    CHECK(std::fabs(y[i] - wanted) <= kBound * static_cast<double>(terms + 8) * (1 + std::fabs(wanted)));
  }
}

void TestLinear(Random* random) {
  const size_t rows = random->Between(1, 200), columns = random->Between(1, random->Chance(8) ? 70000 : 500);
  const size_t batch = random->Chance(8) ? 0 : random->Between(1, random->Chance(3) ? 200 : 20);
  const size_t used = columns > 1000 ? std::min<size_t>(rows, 4) : rows;
  const Floats dense = Numbers(random, used * columns, random->Between(1, 12));
  const Floats x = Numbers(random, batch * columns, random->Between(1, 3));
  const Epilogue epilogue = RandomEpilogue(random, used);
  const Use use = static_cast<Use>(random->Below(3));
  const SparseRows matrix = PackRows({dense.data(), used, columns, columns, 1}, {use});
  const Exact<float> in(x), out(batch * used), again(batch * used);
  SparseLinear(matrix, in.data(), batch, epilogue, out.data(), Forwards);
  SparseLinear(matrix, in.data(), batch, epilogue, again.data(), Backwards);
  std::vector<double> sums;
  for (size_t b = 0; b < batch; ++b) {
    for (size_t r = 0; r < used; ++r) {
      double sum = epilogue.BiasOf(r);
      for (size_t c = 0; c < columns; ++c) sum += double{dense[r * columns + c]} * x[b * columns + c];
      sums.push_back(sum);
    }
  }
  Expect(out.vector(), sums, epilogue, columns);
  CHECK(out.vector() == again.vector());
}

// At most `kept` of each `group` neighbours in a row are not zero.
Floats NmNumbers(Random* random, size_t rows, size_t columns, size_t group, size_t kept) {
  Floats dense(rows * columns, 0.0f);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t first = 0; first < columns; first += group) {
      for (size_t i = 0; i < kept; ++i) {
        const size_t c = first + random->Below(group);
        if (c < columns) dense[r * columns + c] = Number(random) + 2;
      }
    }
  }
  return dense;
}

void TestNm(Random* random) {
  const size_t group = size_t{4} << random->Below(3), kept = random->Between(1, group / 2);
  const size_t rows = random->Between(1, 70), columns = random->Between(1, random->Chance(8) ? 5000 : 300);
  const size_t batch = random->Below(40);
  const Floats dense = NmNumbers(random, rows, columns, group, kept);
  Floats transposed(dense.size());
  for (size_t i = 0; i < dense.size(); ++i) transposed[i % columns * rows + i / columns] = dense[i];
  const bool turned = random->Chance(2);
  const DenseMatrix matrix = turned ? DenseMatrix{transposed.data(), rows, columns, 1, rows}
                                    : DenseMatrix{dense.data(), rows, columns, columns, 1};
  NmRows packed;
  if (!PackNm(matrix,
              &packed)) {  // many slots would hold nothing, as in a few columns
    CHECK(kept > 1 || columns % group != 0);
    return;
  }
  const Floats x = Numbers(random, batch * columns, 1);
  const Epilogue epilogue = RandomEpilogue(random, rows);
  const Exact<float> in(x), out(batch * rows), again(batch * rows);
  NmLinear(packed, in.data(), batch, epilogue, out.data(), Forwards);
  NmLinear(packed, in.data(), batch, epilogue, again.data(), Backwards);
  std::vector<double> sums;
  for (size_t b = 0; b < batch; ++b) {
    for (size_t r = 0; r < rows; ++r) {
      double sum = epilogue.BiasOf(r);
      for (size_t c = 0; c < columns; ++c) sum += double{dense[r * columns + c]} * x[b * columns + c];
      sums.push_back(sum);
    }
  }
  Expect(out.vector(), sums, epilogue, 3 * columns);
  CHECK(out.vector() == again.vector());
}

// What is not N:M is not taken for it.
void TestNotNm() {
  NmRows packed;
  Floats dense(64 * 64, 0.0f);
  CHECK(!PackNm({dense.data(), 64, 64, 64, 1}, &packed));
  for (size_t i = 0; i < 9; ++i) dense[i] = 1;  // nine of sixteen
  for (size_t i = 64; i < dense.size(); ++i) dense[i] = i % 4 < 2 ? 1 : 0;
  CHECK(!PackNm({dense.data(), 64, 64, 64, 1}, &packed));
  dense[8] = 0;
  CHECK(PackNm({dense.data(), 64, 64, 64, 1}, &packed) && packed.bits == 4 && packed.kept == 8);
  dense[2] = dense[3] = dense[4] = dense[6] = dense[7] = 0;
  CHECK(PackNm({dense.data(), 64, 64, 64, 1}, &packed) && packed.bits == 2 && packed.kept == 2);
}

Convolution RandomConvolution(Random* random) {
  Convolution c;
  c.groups = random->Chance(3) ? random->Between(2, 4) : 1;
  c.channels = c.groups * random->Between(1, 6);
  for (int d = 0; d < 2; ++d) {
    if (d == 0 && random->Chance(4)) continue;  // one spatial dimension
    c.kernel[d] = random->Between(1, 5);
    c.stride[d] = random->Between(1, 3);
    c.dilation[d] = random->Between(1, 3);
    c.pad[d] = random->Below(4);
    const size_t extent = (c.kernel[d] - 1) * c.dilation[d] + 1, after = random->Below(4);
    c.input[d] = random->Between(1, 40);
    while (c.input[d] + c.pad[d] + after < extent) ++c.input[d];
    c.output[d] = (c.input[d] + c.pad[d] + after - extent) / c.stride[d] + 1;
  }
  if (random->Chance(3)) {  // one that needs no copy
    for (int d = 0; d < 2; ++d) {
      c.kernel[d] = c.stride[d] = 1;
      c.pad[d] = 0;
      c.output[d] = c.input[d];
    }
  }
  return c;
}

double Convolve(const Convolution& c, const float* weight, const float* x, size_t oy, size_t ox) {
  double sum = 0;
  for (size_t channel = 0; channel < c.channels / c.groups; ++channel) {
    for (size_t ky = 0; ky < c.kernel[0]; ++ky) {
      for (size_t kx = 0; kx < c.kernel[1]; ++kx, ++weight) {
        const size_t y = oy * c.stride[0] + ky * c.dilation[0], at = ox * c.stride[1] + kx * c.dilation[1];
        if (y < c.pad[0] || y - c.pad[0] >= c.input[0] || at < c.pad[1] || at - c.pad[1] >= c.input[1])
          continue;
        sum += double{*weight} * x[(channel * c.input[0] + y - c.pad[0]) * c.input[1] + at - c.pad[1]];
      }
    }
  }
  return sum;
}

void TestConvolution(Random* random) {
  const Convolution c = RandomConvolution(random);
  const size_t most = random->Chance(8) ? 600 : random->Chance(4) ? 80 : 6;
  const size_t rows = c.groups * random->Between(1, most), batch = random->Between(0, most > 80 ? 1 : 2);
  const size_t columns = c.channels / c.groups * c.kernel[0] * c.kernel[1];
  const size_t area = c.output[0] * c.output[1], taken = c.input[0] * c.input[1];
  const Floats dense = Numbers(random, rows * columns, random->Between(1, 12));
  const Floats x = Numbers(random, batch * c.channels * taken, 1);
  const Epilogue epilogue = RandomEpilogue(random, rows);
  const Purpose purpose{Use::kConvolution, c.groups};
  const SparseRows matrix = PackRows({dense.data(), rows, columns, columns, 1}, purpose);
  const Exact<float> in(x), out(batch * rows * area), again(batch * rows * area);
  const Floats residual = Numbers(random, batch * rows * area, 1);
  const Exact<float> exact(residual);
  const float* const added = random->Chance(2) ? exact.data() : nullptr;
  SparseConvolve(matrix, c, in.data(), batch, epilogue, added, out.data(), Forwards);
  SparseConvolve(matrix, c, in.data(), batch, epilogue, added, again.data(), Backwards);
  std::vector<double> sums;
  for (size_t b = 0; b < batch; ++b) {
    for (size_t row = 0; row < rows; ++row) {
      const size_t group = row / (rows / c.groups);
      const float* const image = x.data() + (b * c.channels + group * (c.channels / c.groups)) * taken;
      for (size_t i = 0; i < area; ++i) {
        const float* const weight = dense.data() + row * columns;
        sums.push_back(epilogue.BiasOf(row) + Convolve(c, weight, image, i / c.output[1], i % c.output[1]));
        if (added != nullptr) sums.back() += residual[sums.size() - 1];
      }
    }
  }
  Expect(out.vector(), sums, epilogue, columns);
  CHECK(out.vector() == again.vector());
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 150;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestLinear(&random);
    TestNm(&random);
    TestConvolution(&random);
  }
  TestNotNm();
  std::printf("sparse_test: %ld rounds pass on %s\n", rounds, osq_isa());
  return 0;
}
