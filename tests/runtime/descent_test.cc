// Weights that become levels of a grid: each takes the best of its candidates, what is kept up to date is
// right, and no value, however odd, leads out of an array.
//
//   descent_test [rounds [seed]]    Exits with 0 where all is well.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "codec.h"
#include "codec_random.h"

namespace {

using Floats = std::vector<float>;

float Normal(Random* random) {  // about: a sum of uniform numbers
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += static_cast<double>(random->Below(1 << 20)) / (1 << 20);
  return static_cast<float>(sum);
}

Floats Normals(Random* random, size_t count) {
  Floats values(count);
  for (float& value : values) value = Normal(random);
  return values;
}

float Odd(Random* random) {  // any bits at all
  const uint32_t bits = static_cast<uint32_t>(random->Next());
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Case {
  explicit Case(Random* random)
      : groups(random->Between(1, 3)),
        inputs(random->Between(1, 9)),
        outputs(random->Between(1, 150)),
        count(random->Between(1, 12)),
        zero(random->Below(count)),
        first(random->Below(inputs + 1)),
        last(random->Between(first, inputs)),
        price_width(random->Chance(2) ? 1 : outputs),
        step(0.1f + 0.01f * static_cast<float>(random->Below(100))),
        scales(random->Chance(2) ? Normals(random, groups * inputs * outputs) : Floats()),
        prices(Normals(random, groups * inputs * price_width)),
        bits(Normals(random, count)),
        places(count),
        levels(count) {
    for (float& scale : scales) scale = std::exp(scale / 4);
    for (float& price : prices) price = std::abs(price) / 4;
    for (float& bit : bits) bit = std::abs(bit) * 4;
    const bool gaps = random->Chance(2);
    for (size_t i = zero + 1; i < count; ++i) places[i] = places[i - 1] + Gap(random, gaps);
    for (size_t i = zero; i-- > 0;) places[i] = places[i + 1] - Gap(random, gaps);
    for (size_t i = 0; i < count; ++i) levels[i] = step * places[i];
    for (float at = places[0]; at <= places[count - 1]; ++at) {
      int32_t best = 0;
      for (size_t i = 0; i < count; ++i)
        if (std::abs(places[i] - at) < std::abs(places[static_cast<size_t>(best)] - at))
          best = static_cast<int32_t>(i);
      nearest.push_back(best);
    }
  }

  static float Gap(Random* random, bool gaps) {
    return gaps ? static_cast<float>(random->Between(1, 5)) : 1.0f;
  }

  size_t size() const { return groups * inputs * outputs; }
  size_t at(size_t g, size_t j, size_t o) const { return (g * inputs + j) * outputs + o; }
  float scale(size_t place) const { return scales.empty() ? 1 : scales[place]; }
  float price(size_t g, size_t j, size_t o) const {
    return prices[(g * inputs + j) * price_width + (price_width == 1 ? 0 : o)];
  }

  double Cost(double place, long level, float price_of_bit) const {
    const double off = place - static_cast<double>(places[static_cast<size_t>(level)]);
    return off * off + static_cast<double>(price_of_bit) * bits[static_cast<size_t>(level)];
  }

  // Of the level that is said to be nearest, the one below it in size and zero none costs less.
  void CheckChoice(double wanted, size_t g, size_t j, size_t o, uint8_t found) const {
    const double place = wanted / (static_cast<double>(scale(at(g, j, o))) * step);
    const double inside = std::min<double>(std::max<double>(place, places[0]), places[count - 1]);
    const long none = static_cast<long>(zero);
    const long next = nearest[static_cast<size_t>(std::lround(inside) - std::lround(places[0]))];
    const long below = next - (next > none) + (next < none);
    const float p = price(g, j, o);
    const double least = std::min({Cost(place, next, p), Cost(place, below, p), Cost(place, none, p)});
    CHECK(found < count);
    const double own = Cost(place, found, p);
    CHECK(own <= least + 1e-3 * (1 + place * place));
  }

  size_t groups, inputs, outputs, count, zero, first, last, price_width;
  float step;
  Floats scales, prices, bits, places, levels;
  std::vector<int32_t> nearest;
};

// A case with each of its arrays an exact one.
struct Placed {
  explicit Placed(const Case& c)
      : scales(c.scales),
        prices(c.prices),
        bits(c.bits),
        places(c.places),
        levels(c.levels),
        nearest(c.nearest) {
    rounding = {c.groups,      c.inputs,       c.outputs,
                c.first,       c.last,         c.scales.empty() ? nullptr : scales.data(),
                prices.data(), c.price_width,  levels.data(),
                bits.data(),   places.data(),  c.count,
                c.zero,        nearest.data(), c.nearest.size(),
                c.step};
  }
  Exact<float> scales, prices, bits, places, levels;
  Exact<int32_t> nearest;
  osq_rounding rounding;
};

Floats Moments(Random* random, const Case& c) {  // of more rows than inputs
  Floats moments(c.groups * c.inputs * c.inputs);
  for (size_t g = 0; g < c.groups; ++g) {
    float* own = moments.data() + g * c.inputs * c.inputs;
    for (size_t row = 0; row < 2 * c.inputs; ++row) {
      const Floats x = Normals(random, c.inputs);
      for (size_t i = 0; i < c.inputs; ++i)
        for (size_t j = 0; j < c.inputs; ++j) own[i * c.inputs + j] += x[i] * x[j];
    }
  }
  return moments;
}

void TestCarry(Random* random) {
  const Case c(random);
  const Placed placed(c);
  const bool carries = !random->Chance(3);
  Floats plain = Normals(random, c.groups * c.inputs * c.inputs);
  for (size_t g = 0; g < c.groups; ++g)
    for (size_t j = 0; j < c.inputs; ++j)
      plain[(g * c.inputs + j) * c.inputs + j] = 1 + std::abs(Normal(random));
  const Floats before = Normals(random, c.size());
  const Exact<float> weights(before), upper(plain), errors(c.size());
  const Exact<uint8_t> found(c.size());
  CHECK(osq_carry(&placed.rounding, weights.data(), carries ? upper.data() : nullptr, errors.data(),
                  found.data()) == OSQ_OK);
  for (size_t g = 0; g < c.groups; ++g) {
    for (size_t o = 0; o < c.outputs; ++o) {
      for (size_t j = 0; j < c.inputs; ++j) {
        double wanted = before[c.at(g, j, o)];
        for (size_t i = c.first; carries && i < j && j < c.last; ++i)
          wanted -=
              static_cast<double>(plain[(g * c.inputs + i) * c.inputs + j]) * errors.data()[c.at(g, i, o)];
        CHECK(std::abs(wanted - weights.data()[c.at(g, j, o)]) <= 1e-3 * (1 + std::abs(wanted)));
        if (j < c.first || j >= c.last) continue;
        const uint8_t index = found.data()[c.at(g, j, o)];
        c.CheckChoice(weights.data()[c.at(g, j, o)], g, j, o, index);
        if (!carries) continue;
        const double left = weights.data()[c.at(g, j, o)] - c.levels[index] * c.scale(c.at(g, j, o));
        const double error = left / plain[(g * c.inputs + j) * c.inputs + j];
        CHECK(std::abs(error - errors.data()[c.at(g, j, o)]) <= 1e-3 * (1 + std::abs(error)));
      }
    }
  }
}

void TestDescend(Random* random) {
  const Case c(random);
  const Placed placed(c);
  const Floats wanted = Normals(random, c.size()), moments = Moments(random, c);
  Bytes indices = random->BytesBelow(c.size(), c.count);
  Floats start(c.size()), slopes(c.size());
  for (size_t i = 0; i < c.size(); ++i) start[i] = c.levels[indices[i]] * c.scale(i);
  const auto slope = [&](const float* now, size_t g, size_t j, size_t o) {
    double sum = 0;
    for (size_t k = 0; k < c.inputs; ++k)
      sum += static_cast<double>(moments[(g * c.inputs + j) * c.inputs + k]) *
             (now[c.at(g, k, o)] - wanted[c.at(g, k, o)]);
    return sum;
  };
  for (size_t g = 0; g < c.groups; ++g)
    for (size_t j = 0; j < c.inputs; ++j)
      for (size_t o = 0; o < c.outputs; ++o)
        slopes[c.at(g, j, o)] = static_cast<float>(slope(start.data(), g, j, o));
  const Exact<float> now(start), own(moments), gradients(slopes), moved(Floats(c.size(), 0.0f));
  const Exact<uint8_t> found(indices);
  CHECK(osq_descend(&placed.rounding, now.data(), own.data(), gradients.data(), moved.data(), found.data()) ==
        OSQ_OK);
  for (size_t g = 0; g < c.groups; ++g) {
    for (size_t j = 0; j < c.inputs; ++j) {
      for (size_t o = 0; o < c.outputs; ++o) {
        const size_t at = c.at(g, j, o);
        if (j < c.first || j >= c.last) {
          CHECK(now.data()[at] == start[at] && found.data()[at] == indices[at]);
          continue;
        }
        CHECK(found.data()[at] < c.count);
        CHECK(now.data()[at] == c.levels[found.data()[at]] * c.scale(at));
        CHECK(std::abs(moved.data()[at] - (now.data()[at] - start[at])) <= 1e-5f * (1 + std::abs(start[at])));
        const double right = slope(now.data(), g, j, o);
        CHECK(std::abs(right - gradients.data()[at]) <= 1e-2 * (1 + std::abs(right)));
      }
    }
  }
}

void TestOddValues(Random* random) {
  const Case c(random);
  const Placed placed(c);
  const auto odd = [&](size_t count) {
    Floats values(count);
    for (float& value : values) value = Odd(random);
    return values;
  };
  const Exact<float> weights(odd(c.size())), square(odd(c.groups * c.inputs * c.inputs)),
      errors(odd(c.size()));
  const Exact<float> gradients(odd(c.size()));
  const Exact<uint8_t> found(random->BytesBelow(c.size(), c.count));
  for (float* all : {placed.scales.data(), placed.prices.data(), placed.bits.data()}) {
    if (random->Chance(2) && (all != placed.scales.data() || !c.scales.empty())) all[0] = Odd(random);
  }
  CHECK(osq_carry(&placed.rounding, weights.data(), square.data(), errors.data(), found.data()) == OSQ_OK);
  CHECK(osq_descend(&placed.rounding, weights.data(), square.data(), gradients.data(), errors.data(),
                    found.data()) == OSQ_OK);
  for (const uint8_t index : found.vector()) CHECK(index < c.count);
}

void TestRefusals() {
  const float one = 1, none = 0, half = 0.5f;
  const int32_t first = 0, beyond = 1, before = -1;
  float value = 0;
  uint8_t found = 0;
  const osq_rounding good = {1, 1, 1, 0, 1, nullptr, &one, 1, &one, &one, &none, 1, 0, &first, 1, 1.0f};
  CHECK(osq_carry(&good, &value, nullptr, nullptr, &found) == OSQ_OK);
  CHECK(osq_carry(nullptr, &value, nullptr, nullptr, &found) == OSQ_BAD_ARGUMENT);
  CHECK(osq_carry(&good, nullptr, nullptr, nullptr, &found) == OSQ_BAD_ARGUMENT);
  CHECK(osq_carry(&good, &value, &one, nullptr, &found) == OSQ_BAD_ARGUMENT);
  CHECK(osq_carry(&good, &value, nullptr, nullptr, nullptr) == OSQ_BAD_ARGUMENT);
  CHECK(osq_descend(&good, &value, &one, nullptr, &value, &found) == OSQ_BAD_ARGUMENT);
  CHECK(osq_descend(&good, &value, &one, &value, nullptr, &found) == OSQ_BAD_ARGUMENT);
  CHECK(osq_descend(&good, &value, nullptr, &value, &value, &found) == OSQ_BAD_ARGUMENT);
  osq_rounding bad[15];
  for (osq_rounding& each : bad) each = good;
  bad[0].last = 2;
  bad[1].first = 2;
  bad[2].count = 0;
  bad[3].count = 257;
  bad[4].zero = 1;
  bad[5].step = 0;
  bad[6].step = std::numeric_limits<float>::quiet_NaN();
  bad[7].price_width = 2;
  bad[8].places = nullptr;
  bad[9].nearest = nullptr;
  bad[10].nearest = &beyond;
  bad[11].nearest = &before;
  bad[12].span = 0;
  bad[13].span = size_t{1} << 40;
  bad[14].places = &half;
  for (const osq_rounding& each : bad)
    CHECK(osq_carry(&each, &value, nullptr, nullptr, &found) == OSQ_BAD_ARGUMENT);
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 400;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  TestRefusals();
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestCarry(&random);
    TestDescend(&random);
    TestOddValues(&random);
  }
  std::printf("descent_test: %ld rounds pass\n", rounds);
  return 0;
}
