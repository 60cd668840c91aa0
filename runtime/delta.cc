// Codes arrays given older ones of the same length (ota/UPDATE.md): is an element as before, and if not, in
// which direction does it go, over how many bits, and which.
#include <memory>
#include <type_traits>

#include "codec.h"
#include "delta_model.h"
#include "delta_places.h"
#include "parallel.h"

namespace osq {
namespace {

constexpr int kInputs = 6;
constexpr int kModelledBits = 2;  // of a difference, below its leading one
constexpr int kTableBits = 16;

// The decisions that make up a difference.
enum Decision { kChanged, kSign, kLength, kBits, kDecisions };

// An opinion on each decision from each of its contexts.
class Model {
 public:
  Model() : mixers_{Mixer<kInputs>(256), Mixer<kInputs>(256), Mixer<kInputs>(256), Mixer<kInputs>(256)} {
    for (int d = 0; d < kDecisions; ++d)
      for (int i = 0; i < kInputs; ++i) tables_[d].emplace_back(d == kLength ? kTableBits + 2 : kTableBits);
  }

  // Forgets what was learned of rows and columns, which the next array does not share.
  void ForgetPlaces() {
    for (auto& tables : tables_)
      for (int i : {kColumn, kRow}) tables[i].Clear();
  }

  template <typename Coder>
  OSQ_INLINE int Code(Coder* coder, Decision decision, const uint32_t* contexts, uint32_t set, int bit) {
    uint32_t* slots[kInputs];
    int logits[kInputs];
    for (int i = 0; i < kInputs; ++i) {
      slots[i] = tables_[decision][i].Hashed(contexts[i]);
      logits[i] = stretch_[Counters::Probability(*slots[i])];
    }
    Mixer<kInputs>& mixer = mixers_[decision];
    bit = coder->Code(bit, mixer.Mix(logits, set & 255));
    mixer.Learn(logits, bit, kRate);
    for (int i = 0; i < kInputs; ++i) Counters::Learn(slots[i], bit, kLimit);
    return bit;
  }

  static constexpr int kColumn = 2, kRow = 3;  // the contexts that are places

 private:
  static constexpr int kRate = 6;
  static constexpr uint32_t kLimit = 255;
  Stretch stretch_;
  std::vector<Counters> tables_[kDecisions];
  Mixer<kInputs> mixers_[kDecisions];
};

// Codes differences, one after another.
template <typename Coder>
class Delta {
 public:
  template <typename... Arguments>
  explicit Delta(Arguments... arguments) : coder_(arguments...) {}

  Coder& coder() { return coder_; }
  const Coder& coder() const { return coder_; }

  // Codes `count` unsigned numbers of `bits` bits, given old ones; `context` tells of each which old ones are
  // alike.
  template <typename T, typename Context>
  void Code(T* values, const T* old, size_t count, size_t width, Context context) {
    model_.ForgetPlaces();
    Places places(count, width);
    for (size_t i = 0; i < count; ++i) {
      places.Look(i);
      const T given = Coder::kDecodes ? T{0} : static_cast<T>(values[i] - old[i]);
      const T step = CodeStep<T>(given, context(old[i]), &places, i);
      if (Coder::kDecodes) values[i] = static_cast<T>(old[i] + step);
    }
  }

 private:
  template <typename T>
  OSQ_INLINE T CodeStep(T given, uint32_t old, Places* p, size_t i) {
    constexpr int kBitsOfT = 8 * sizeof(T);
    if (!CodeChanged(given != 0, old, *p)) {
      p->Note(i, 0);
      return 0;
    }
    const int down = CodeSign(given >> (kBitsOfT - 1), old, *p);
    uint64_t size = down ? static_cast<T>(T{0} - given) : given;
    const int length = CodeLength<kBitsOfT>(LengthOf(size), old, *p);
    size = CodeBits(size, length, old, *p);
    p->Note(i, down ? -length : length);
    return static_cast<T>(down ? T{0} - static_cast<T>(size) : size);
  }

  OSQ_INLINE int CodeChanged(int changed, uint32_t old, const Places& p) {
    const auto is = [](int step) { return static_cast<uint32_t>(step != 0); };
    const uint32_t pattern = is(p.left) | is(p.left2) << 1 | is(p.left3) << 2 | is(p.up) << 3 |
                             is(p.up_left) << 4 | is(p.up_right) << 5 | is(p.up2) << 6;
    const uint32_t contexts[kInputs] = {
        old << 2 | is(p.left) << 1 | is(p.up),
        pattern,
        p.column,
        p.row,
        Level(p.row_rate) << 16 | Level(p.slow_rate) << 8 | Level(p.column_rate),
        old << 8 | Level(p.slow_rate),
    };
    return model_.Code(&coder_, kChanged, contexts, Level(p.row_rate), changed);
  }

  OSQ_INLINE int CodeSign(int down, uint32_t old, const Places& p) {
    const uint32_t around =
        ((((SignOf(p.left) * 3 + SignOf(p.left2)) * 3 + SignOf(p.up)) * 3 + SignOf(p.up_left)) * 3 +
         SignOf(p.up_right));
    const uint32_t row = static_cast<uint32_t>(p.row_sign + 8),
                   column = static_cast<uint32_t>(p.column_sign + 8);
    const uint32_t contexts[kInputs] = {old << 4 | SignOf(p.left) << 2 | SignOf(p.up),
                                        around,
                                        p.column,
                                        p.row,
                                        row << 4 | column,
                                        old << 4 | row};
    return model_.Code(&coder_, kSign, contexts, row, down);
  }

  // The number of bits of a difference, 1 ... kBitsOfT, as so many decisions of a binary tree.
  template <int kBitsOfT>
  OSQ_INLINE int CodeLength(int length, uint32_t old, const Places& p) {
    const auto size = [](int step) { return static_cast<uint32_t>(step < 0 ? -step : step); };
    const uint32_t bases[kInputs] = {
        old << 8,
        size(p.left) << 16 | size(p.up) << 8,
        p.column << 8,
        p.row << 8,
        Level(p.row_rate) << 16 | Level(p.column_rate) << 8,
        old << 20 | Level(p.row_rate) << 8,
    };
    uint32_t node = 1;
    for (int left = kBitsOfT / 2, rest = length - 1; left > 0; left /= 2) {
      uint32_t contexts[kInputs];
      for (int i = 0; i < kInputs; ++i) contexts[i] = bases[i] | node;
      const int bit = model_.Code(&coder_, kLength, contexts, node, rest >= left);
      rest -= bit ? left : 0;
      node = node << 1 | static_cast<uint32_t>(bit);
    }
    return static_cast<int>(node) - kBitsOfT + 1;
  }

  // The bits of a difference below its leading one: the first ones modelled, the others as they are.
  OSQ_INLINE uint64_t CodeBits(uint64_t size, int length, uint32_t old, const Places& p) {
    uint64_t found = 1;
    int left = length - 1;
    for (int k = 0; k < kModelledBits && left > 0; ++k) {
      const uint32_t here = static_cast<uint32_t>(length) << 4 | static_cast<uint32_t>(found);
      const uint32_t contexts[kInputs] = {here,
                                          here | old << 12,
                                          here | p.column << 12,
                                          here | p.row << 12,
                                          here | Level(p.row_rate) << 12,
                                          here | Level(p.column_rate) << 12};
      found = found << 1 |
              static_cast<uint64_t>(model_.Code(&coder_, kBits, contexts, here & 255, size >> --left & 1));
    }
    for (; left > 0;) {
      const int n = std::min(left, 32);
      left -= n;
      found = found << n | coder_.Plain(size >> left & ((uint64_t{1} << n) - 1), n);
    }
    return found;
  }

  Model model_;
  Coder coder_;
};

// Floats in an order that follows their bits: differences of these are steps between neighbouring floats.
template <typename T>
OSQ_INLINE T Ordered(T bits) {
  constexpr T kTop = T{1} << (8 * sizeof(T) - 1);
  return bits & kTop ? static_cast<T>(~bits) : static_cast<T>(bits | kTop);
}

template <typename T>
OSQ_INLINE T Unordered(T ordered) {
  constexpr T kTop = T{1} << (8 * sizeof(T) - 1);
  return ordered & kTop ? static_cast<T>(ordered & ~kTop) : static_cast<T>(~ordered);
}

template <typename T, typename Coder>
void CodeNumbers(Delta<Coder>* delta, T* values, const T* old, size_t count, size_t width) {
  delta->Code(values, old, count, width, [](T v) { return static_cast<uint32_t>(v & 255); });
}

// Old floats are alike where the highest bits of their exponents are.
template <typename T, int kExponentBits, typename Coder>
void CodeFloats(Delta<Coder>* delta, T* values, const T* old, size_t count, size_t width) {
  constexpr int kMantissaBits = 8 * sizeof(T) - 1 - kExponentBits;
  std::vector<T> now(count), before(count);
  for (size_t i = 0; i < count; ++i) {
    before[i] = Ordered(old[i]);
    if (!Coder::kDecodes) now[i] = Ordered(values[i]);
  }
  delta->Code(now.data(), before.data(), count, width,
              [](T v) { return static_cast<uint32_t>(Unordered(v) >> kMantissaBits) & 255; });
  if (!Coder::kDecodes) return;
  for (size_t i = 0; i < count; ++i) values[i] = Unordered(now[i]);
}

template <typename Coder>
int CodeArray(Delta<Coder>* delta, void* values, const void* old, size_t count, size_t width, int type) {
  const auto numbers = [&](auto zero) {
    using T = decltype(zero);
    CodeNumbers(delta, static_cast<T*>(values), static_cast<const T*>(old), count, width);
    return OSQ_OK;
  };
  const auto floats = [&](auto zero, auto exponent) {
    using T = decltype(zero);
    CodeFloats<T, exponent()>(delta, static_cast<T*>(values), static_cast<const T*>(old), count, width);
    return OSQ_OK;
  };
  switch (type) {
    case OSQ_FLOAT:
      return floats(uint32_t{0}, std::integral_constant<int, 8>());
    case OSQ_FLOAT16:
      return floats(uint16_t{0}, std::integral_constant<int, 5>());
    case OSQ_DOUBLE:
      return floats(uint64_t{0}, std::integral_constant<int, 11>());
    case OSQ_UINT8:
      return numbers(uint8_t{0});
    case OSQ_UINT16:
      return numbers(uint16_t{0});
    case OSQ_UINT32:
      return numbers(uint32_t{0});
    case OSQ_UINT64:
      return numbers(uint64_t{0});
    default:
      return OSQ_BAD_ARGUMENT;
  }
}

}  // namespace
}  // namespace osq

using namespace osq;

struct osq_delta {
  std::unique_ptr<Delta<BitCoder>> encoder;
  std::unique_ptr<Delta<BitDecoder>> decoder;
};

int osq_delta_encoder(osq_delta** delta) {
  if (delta == nullptr) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    auto made = std::make_unique<osq_delta>();
    made->encoder = std::make_unique<Delta<BitCoder>>();
    *delta = made.release();
    return OSQ_OK;
  });
}

int osq_delta_decoder(const uint8_t* coded, size_t coded_bytes, const uint8_t* plain, size_t plain_bytes,
                      osq_delta** delta) {
  if (delta == nullptr || (coded == nullptr && coded_bytes > 0) || (plain == nullptr && plain_bytes > 0))
    return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    auto made = std::make_unique<osq_delta>();
    made->decoder = std::make_unique<Delta<BitDecoder>>(coded, coded_bytes, plain, plain_bytes);
    *delta = made.release();
    return OSQ_OK;
  });
}

int osq_delta_code(osq_delta* delta, void* values, const void* old, size_t count, size_t width, int type) {
  if (delta == nullptr || width < 1 || (count > 0 && (values == nullptr || old == nullptr)))
    return OSQ_BAD_ARGUMENT;
  width = std::min(width, std::max<size_t>(count, 1));
  return Guard([&]() -> int {
    if (delta->encoder) return CodeArray(delta->encoder.get(), values, old, count, width, type);
    if (const int status = CodeArray(delta->decoder.get(), values, old, count, width, type)) return status;
    return delta->decoder->coder().exhausted() ? OSQ_DELTA_SHORT : OSQ_OK;
  });
}

int osq_delta_end(osq_delta* delta, size_t* coded_bytes, size_t* plain_bytes) {
  if (delta == nullptr) return OSQ_BAD_ARGUMENT;
  if (delta->decoder) {
    const BitDecoder& coder = delta->decoder->coder();
    return coder.exhausted() ? OSQ_DELTA_SHORT : coder.finished() ? OSQ_OK : OSQ_DELTA_LONG;
  }
  if (coded_bytes == nullptr || plain_bytes == nullptr) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    BitCoder& coder = delta->encoder->coder();
    coder.End();
    *coded_bytes = coder.coded().size();
    *plain_bytes = coder.plain().size();
    return OSQ_OK;
  });
}

int osq_delta_take(const osq_delta* delta, uint8_t* coded, uint8_t* plain) {
  if (delta == nullptr || !delta->encoder) return OSQ_BAD_ARGUMENT;
  const BitCoder& coder = delta->encoder->coder();
  if ((coded == nullptr && !coder.coded().empty()) || (plain == nullptr && !coder.plain().empty()))
    return OSQ_BAD_ARGUMENT;
  std::copy(coder.coded().begin(), coder.coded().end(), coded);
  std::copy(coder.plain().begin(), coder.plain().end(), plain);
  return OSQ_OK;
}

int osq_delta_free(osq_delta* delta) {
  delete delta;
  return OSQ_OK;
}
