// The probabilities that updates are coded with (ota/UPDATE.md): adaptive counters whose opinions a small
// network mixes in the logistic domain, and a binary arithmetic coder. Integers throughout: the same bits on
// every machine. After Mahoney's lpaq (2007).
#ifndef ONNXSQUEEZE_DELTA_MODEL_H_
#define ONNXSQUEEZE_DELTA_MODEL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bits.h"

namespace osq {

constexpr int kMaxLogit = 3071;  // logits are in 1/256

// 65536 / (1 + exp(-x)) for x = -12, -11.75 ... 12.
constexpr int kSquash[97] = {
    1,     1,     1,     1,     1,     1,     2,     2,     3,     4,     5,     6,     8,     10,
    13,    17,    22,    28,    36,    47,    60,    77,    98,    126,   162,   208,   267,   342,
    439,   562,   720,   922,   1179,  1506,  1921,  2446,  3108,  3938,  4971,  6249,  7812,  9702,
    11955, 14595, 17625, 21025, 24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834,
    57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030, 64357, 64614, 64816, 64974, 65097, 65194,
    65269, 65328, 65374, 65410, 65438, 65459, 65476, 65489, 65500, 65508, 65514, 65519, 65523, 65526,
    65528, 65530, 65531, 65532, 65533, 65534, 65534, 65535, 65535, 65535, 65535, 65535, 65535,
};

// The probability of a logit, 1 ... 65535.
OSQ_INLINE int Squash(int logit) {
  const int at = std::clamp(logit, -kMaxLogit, kMaxLogit) + kMaxLogit + 1;
  return (kSquash[at >> 6] * (64 - (at & 63)) + kSquash[(at >> 6) + 1] * (at & 63) + 32) >> 6;
}

// For each probability the largest logit that does not squash to more.
class Stretch {
 public:
  Stretch() {
    int logit = -kMaxLogit;
    for (int p = 0; p < 65536; ++p) {
      while (logit < kMaxLogit && Squash(logit + 1) <= p) ++logit;
      logits_[p] = static_cast<int16_t>(logit);
    }
  }
  int operator[](int probability) const { return logits_[probability]; }

 private:
  std::array<int16_t, 65536> logits_;
};

// How often a bit was 1 in one context: 22 bits of probability, 10 of how many bits were seen.
class Counters {
 public:
  explicit Counters(int bits) : mask_((size_t{1} << bits) - 1), slots_(mask_ + 1, kFresh) {}

  void Clear() { std::fill(slots_.begin(), slots_.end(), kFresh); }
  OSQ_INLINE uint32_t* Slot(uint32_t context) { return &slots_[context & mask_]; }
  OSQ_INLINE uint32_t* Hashed(uint32_t context) { return &slots_[(context * 0x9E3779B1u >> 12) & mask_]; }

  static OSQ_INLINE int Probability(uint32_t slot) { return static_cast<int>(slot >> 16); }
  static OSQ_INLINE void Learn(uint32_t* slot, int bit, uint32_t limit) {
    const uint32_t seen = *slot & 1023;
    const int64_t p = *slot >> 10, step = ((bit << 22) - bit - p) * 2 / (2 * seen + 3);
    *slot = static_cast<uint32_t>(p + step) << 10 | (seen < limit ? seen + 1 : seen);
  }

 private:
  static constexpr uint32_t kFresh = 1u << 31;
  size_t mask_;
  std::vector<uint32_t> slots_;
};

// Weights, one set a context, that turn logits into one.
template <int kInputs>
class Mixer {
 public:
  explicit Mixer(size_t sets) : weights_(sets) {
    for (auto& set : weights_) set.fill(65536 * 3 / 10);
  }

  OSQ_INLINE int Mix(const int* logits, size_t set) {
    set_ = &weights_[set];
    int64_t sum = 0;
    for (int i = 0; i < kInputs; ++i) sum += int64_t{(*set_)[i]} * logits[i];
    probability_ = Squash(static_cast<int>(std::clamp<int64_t>(sum >> 16, -kMaxLogit, kMaxLogit)));
    return probability_;
  }

  OSQ_INLINE void Learn(const int* logits, int bit, int rate) {
    const int64_t error = ((bit << 16) - bit - probability_) * rate;
    for (int i = 0; i < kInputs; ++i) {
      const int64_t weight = (*set_)[i] + ((logits[i] * error + (1 << 19)) >> 20);
      (*set_)[i] = static_cast<int32_t>(std::clamp<int64_t>(weight, -kHeaviest, kHeaviest));
    }
  }

 private:
  static constexpr int64_t kHeaviest = 1 << 24;
  std::vector<std::array<int32_t, kInputs>> weights_;
  std::array<int32_t, kInputs>* set_ = nullptr;
  int probability_ = 0;
};

// Writes bits, each with the probability (in 1/65536) that it is 1.
class BitCoder {
 public:
  static constexpr bool kDecodes = false;

  OSQ_INLINE int Code(int bit, int probability) {
    const uint32_t middle = low_ + static_cast<uint32_t>(uint64_t{high_ - low_} * probability >> 16);
    if (bit) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while ((low_ ^ high_) >> 24 == 0) {
      coded_.push_back(static_cast<uint8_t>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 255;
    }
    return bit;
  }

  // The `n` <= 57 low bits, as they are.
  OSQ_INLINE uint64_t Plain(uint64_t bits, int n) {
    word_ |= bits << filled_;
    filled_ += n;
    for (; filled_ >= 8; filled_ -= 8, word_ >>= 8) plain_.push_back(static_cast<uint8_t>(word_));
    return bits;
  }

  // No bits follow.
  void End() {
    for (int i = 0; i < 4; ++i, low_ <<= 8) coded_.push_back(static_cast<uint8_t>(low_ >> 24));
    if (filled_ > 0) plain_.push_back(static_cast<uint8_t>(word_));
    filled_ = 0;
  }

  bool exhausted() const { return false; }
  const std::vector<uint8_t>& coded() const { return coded_; }
  const std::vector<uint8_t>& plain() const { return plain_; }

 private:
  uint32_t low_ = 0, high_ = ~uint32_t{0};
  uint64_t word_ = 0;
  int filled_ = 0;
  std::vector<uint8_t> coded_, plain_;
};

// Reads what BitCoder writes; zeros where the bytes end.
class BitDecoder {
 public:
  static constexpr bool kDecodes = true;

  BitDecoder(const uint8_t* coded, size_t coded_bytes, const uint8_t* plain, size_t plain_bytes)
      : coded_(coded), coded_end_(coded + coded_bytes), plain_(plain), plain_end_(plain + plain_bytes) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | Next();
  }

  OSQ_INLINE int Code(int, int probability) {
    const uint32_t middle = low_ + static_cast<uint32_t>(uint64_t{high_ - low_} * probability >> 16);
    const int bit = code_ <= middle;
    if (bit) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while ((low_ ^ high_) >> 24 == 0) {
      low_ <<= 8;
      high_ = high_ << 8 | 255;
      code_ = code_ << 8 | Next();
    }
    return bit;
  }

  OSQ_INLINE uint64_t Plain(uint64_t, int n) {
    for (; filled_ < n; filled_ += 8) {
      if (plain_ == plain_end_) missing_ = true;
      word_ |= uint64_t{plain_ < plain_end_ ? *plain_++ : uint8_t{0}} << filled_;
    }
    const uint64_t bits = word_ & ((uint64_t{1} << n) - 1);
    word_ >>= n;
    filled_ -= n;
    return bits;
  }

  // Whether more was read than there is.
  bool exhausted() const { return missing_; }
  // Whether all was read.
  bool finished() const { return coded_ == coded_end_ && plain_ == plain_end_ && word_ == 0; }

 private:
  OSQ_INLINE uint32_t Next() {
    if (coded_ < coded_end_) return *coded_++;
    missing_ = true;
    return 0;
  }

  const uint8_t *coded_, *coded_end_, *plain_, *plain_end_;
  uint32_t low_ = 0, high_ = ~uint32_t{0}, code_ = 0;
  uint64_t word_ = 0;
  int filled_ = 0;
  bool missing_ = false;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_DELTA_MODEL_H_
