// Which parts of old bytes new ones are like (ota/UPDATE.md, section 3.4): the search of bsdiff (Percival
// 2003), with the suffixes cut by their first two bytes and matches followed only so far.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "bits.h"
#include "codec.h"
#include "parallel.h"
#include "suffixes.h"

namespace osq {
namespace {

constexpr int64_t kFar = 1 << 14;  // bytes of a match that are compared at once
constexpr int64_t kBetter = 8;     // equal bytes by which a match must beat going on as before

int64_t Common(const uint8_t* a, int64_t a_left, const uint8_t* b, int64_t b_left) {
  const int64_t most = std::min({a_left, b_left, kFar});
  return std::mismatch(a, a + most, b).first - a;
}

struct Match {
  int64_t at, length;
};

// Which runs of eight bytes may occur: most do not, and a bit is found sooner than a suffix.
class Occurring {
 public:
  Occurring(const uint8_t* bytes, int64_t count) {
    while ((int64_t{1} << bits_) < kBitsEach * count) ++bits_;
    words_.resize((size_t{1} << bits_) / 64);
    for (int64_t i = 0; i + kBetter <= count; ++i)
      words_[At(bytes + i) / 64] |= uint64_t{1} << At(bytes + i) % 64;
  }
  bool operator()(const uint8_t* eight) const { return words_[At(eight) / 64] >> At(eight) % 64 & 1; }

 private:
  static constexpr int64_t kBitsEach = 8;
  size_t At(const uint8_t* eight) const {
    return Load<uint64_t>(eight) * 0x9E3779B97F4A7C15u >> (64 - bits_);
  }

  int bits_ = 16;
  std::vector<uint64_t> words_;
};

// Old bytes, ready to be searched.
class Old {
 public:
  Old(const uint8_t* bytes, size_t count)
      : bytes_(bytes),
        count_(static_cast<int64_t>(count)),
        occurring_(bytes, count_),
        suffixes_(SortSuffixes(bytes, count)),
        first_(65537) {
    for (int64_t i = 0; i + 1 < count_; ++i) ++first_[KeyOf(bytes + i) + 1];
    if (count_ > 0) ++first_[bytes[count_ - 1] << 8];  // the last suffix has one byte only
    for (size_t key = 0; key < 65536; ++key) first_[key + 1] += first_[key];
  }

  // The old bytes that begin most like these; none where too few do to be worth it.
  Match Longest(const uint8_t* from, int64_t left) const {
    if (left < kBetter || count_ < kBetter || !occurring_(from)) return {0, 0};
    int64_t low = first_[KeyOf(from)], high = first_[KeyOf(from) + 1];
    if (low == high) return {0, 0};
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (IsAfter(suffixes_[middle], from, left) ? high : low) = middle;
    }
    const Match lower = At(low, from, left), upper = At(std::min(low + 1, count_ - 1), from, left);
    return upper.length > lower.length ? upper : lower;
  }

  bool Has(int64_t at, uint8_t byte) const { return at >= 0 && at < count_ && bytes_[at] == byte; }
  uint8_t operator[](int64_t at) const { return bytes_[at]; }
  int64_t count() const { return count_; }

 private:
  static size_t KeyOf(const uint8_t* two) { return static_cast<size_t>(two[0]) << 8 | two[1]; }

  bool IsAfter(int32_t at, const uint8_t* from, int64_t left) const {
    const int64_t most = std::min({count_ - at, left, kFar});
    return std::memcmp(bytes_ + at, from, static_cast<size_t>(most)) > 0;
  }

  Match At(int64_t place, const uint8_t* from, int64_t left) const {
    const int64_t at = suffixes_[place];
    return {at, Common(bytes_ + at, count_ - at, from, left)};
  }

  const uint8_t* bytes_;
  int64_t count_;
  Occurring occurring_;
  std::vector<int32_t> suffixes_;
  std::vector<int64_t> first_;  // of each two bytes: how many suffixes come before those that begin with them
};

// Cuts new bytes into copies, each followed by bytes that are like no old ones.
class Cutter {
 public:
  Cutter(const Old& old, const uint8_t* bytes, size_t count, osq_copy* copies)
      : old_(old), new_(bytes), count_(static_cast<int64_t>(count)), copies_(copies) {}

  size_t Cut() {
    while (scan_ < count_) {
      const int64_t equal = Advance();
      if (match_.length != equal || scan_ == count_) Emit();
    }
    return made_;
  }

 private:
  // Goes to the next place where a match is worth it; how many bytes going on as before has equal there.
  int64_t Advance() {
    int64_t equal = 0;
    scan_ += match_.length;
    for (int64_t ahead = scan_; scan_ < count_; ++scan_) {
      match_ = old_.Longest(new_ + scan_, count_ - scan_);
      for (; ahead < scan_ + match_.length; ++ahead) equal += old_.Has(ahead + offset_, new_[ahead]);
      if ((match_.length == equal && match_.length > 0) || match_.length > equal + kBetter) break;
      if (ahead > scan_) equal -= old_.Has(scan_ + offset_, new_[scan_]);
      ahead = std::max(ahead, scan_ + 1);
    }
    return equal;
  }

  // The copy begun before takes bytes after it, the one that begins here takes bytes before it.
  void Emit() {
    int64_t after = Grown(std::min(scan_ - start_, old_.count() - from_),
                          [this](int64_t i) { return old_[from_ + i] == new_[start_ + i]; });
    int64_t before = scan_ == count_ ? 0 : Grown(std::min(scan_ - start_, match_.at), [this](int64_t i) {
      return old_[match_.at - 1 - i] == new_[scan_ - 1 - i];
    });
    const int64_t overlap = start_ + after - (scan_ - before);
    if (overlap > 0) {
      const int64_t kept = Split(after, before, overlap);
      after += kept - overlap;
      before -= kept;
    }
    copies_[made_++] = {static_cast<uint64_t>(from_), static_cast<uint64_t>(after),
                        static_cast<uint64_t>(scan_ - before - start_ - after)};
    start_ = scan_ - before;
    from_ = match_.at - before;
    offset_ = match_.at - scan_;
  }

  // How far at least half of the bytes, counted from the start, are equal, the more the better.
  template <typename Same>
  static int64_t Grown(int64_t most, Same same) {
    int64_t equal = 0, best = 0, length = 0;
    for (int64_t i = 0; i < most; ++i) {
      equal += same(i);
      if (2 * equal - (i + 1) > best) {
        best = 2 * equal - (i + 1);
        length = i + 1;
      }
    }
    return length;
  }

  // Of bytes that two copies could take, how many the first one does.
  int64_t Split(int64_t after, int64_t before, int64_t overlap) const {
    int64_t gain = 0, best = 0, kept = 0;
    for (int64_t i = 0; i < overlap; ++i) {
      const int64_t in_first = after - overlap + i;
      gain += old_[from_ + in_first] == new_[start_ + in_first];
      gain -= old_[match_.at - before + i] == new_[scan_ - before + i];
      if (gain > best) {
        best = gain;
        kept = i + 1;
      }
    }
    return kept;
  }

  const Old& old_;
  const uint8_t* new_;
  int64_t count_;
  osq_copy* copies_;
  size_t made_ = 0;
  int64_t scan_ = 0, start_ = 0, from_ = 0, offset_ = 0;
  Match match_ = {0, 0};
};

}  // namespace
}  // namespace osq

struct osq_old {
  osq::Old old;
};

int osq_old_make(const uint8_t* bytes, size_t count, osq_old** old) {
  if (old == nullptr || (bytes == nullptr && count > 0)) return OSQ_BAD_ARGUMENT;
  if (count > INT32_MAX) return OSQ_TOO_LARGE;
  return osq::Guard([&]() -> int {
    *old = new osq_old{osq::Old(bytes, count)};
    return OSQ_OK;
  });
}

int osq_old_copies(const osq_old* old, const uint8_t* bytes, size_t count, osq_copy* copies, size_t room,
                   size_t* made) {
  if (old == nullptr || copies == nullptr || made == nullptr || (bytes == nullptr && count > 0))
    return OSQ_BAD_ARGUMENT;
  if (count > INT32_MAX) return OSQ_TOO_LARGE;
  if (room < count / osq::kBetter + 2) return OSQ_BAD_ARGUMENT;
  return osq::Guard([&]() -> int {
    *made = osq::Cutter(old->old, bytes, count, copies).Cut();
    return OSQ_OK;
  });
}

int osq_old_free(osq_old* old) {
  delete old;
  return OSQ_OK;
}
