#include "suffixes.h"

#include <algorithm>

namespace osq {
namespace {

// Suffixes are small (S) where they come before the next one, else large (L). An S behind an L is leftmost
// (LMS): sorting those alone puts all others in order.
template <typename Letter>
class Induced {
 public:
  Induced(const Letter* text, int32_t count, int32_t letters)
      : text_(text), count_(count), small_(count, false), large_first_(letters), small_first_(letters + 1) {
    for (int32_t i = count - 2; i >= 0; --i)
      small_[i] = text[i] < text[i + 1] || (text[i] == text[i + 1] && small_[i + 1]);
    // Within a letter the large suffixes come first.
    std::vector<int32_t> larges(letters), smalls(letters);
    for (int32_t i = 0; i < count; ++i) ++(small_[i] ? smalls : larges)[text[i]];
    int32_t sum = 0;
    for (int32_t c = 0; c < letters; ++c) {
      large_first_[c] = sum;
      small_first_[c] = sum + larges[c];
      sum = small_first_[c] + smalls[c];
    }
    small_first_[letters] = sum;
  }

  std::vector<int32_t> Sort() const {
    std::vector<int32_t> leftmost;
    for (int32_t i = 1; i < count_; ++i)
      if (IsLeftmost(i)) leftmost.push_back(i);
    std::vector<int32_t> sorted(count_);
    Induce(leftmost, &sorted);
    if (leftmost.size() > 1) Induce(Ordered(leftmost, sorted), &sorted);
    return sorted;
  }

 private:
  bool IsLeftmost(int32_t i) const { return i > 0 && small_[i] && !small_[i - 1]; }

  // All suffixes, from leftmost ones in their order: large ones by those after them, then small ones.
  void Induce(const std::vector<int32_t>& leftmost, std::vector<int32_t>* sorted) const {
    std::vector<int32_t>& sa = *sorted;
    std::fill(sa.begin(), sa.end(), -1);
    std::vector<int32_t> next(small_first_);
    for (int32_t i : leftmost) sa[next[text_[i]]++] = i;
    next = large_first_;
    sa[next[text_[count_ - 1]]++] = count_ - 1;
    for (int32_t i = 0; i < count_; ++i)
      if (sa[i] > 0 && !small_[sa[i] - 1]) sa[next[text_[sa[i] - 1]]++] = sa[i] - 1;
    for (size_t c = 0; c < large_first_.size(); ++c) next[c] = EndOf(c);
    for (int32_t i = count_ - 1; i >= 0; --i)
      if (sa[i] > 0 && small_[sa[i] - 1]) sa[--next[text_[sa[i] - 1]]] = sa[i] - 1;
  }

  int32_t EndOf(size_t letter) const {
    return letter + 1 < large_first_.size() ? large_first_[letter + 1] : small_first_.back();
  }

  // The leftmost suffixes in order: numbered by what is between one and the next, and those numbers sorted.
  std::vector<int32_t> Ordered(const std::vector<int32_t>& leftmost,
                               const std::vector<int32_t>& sorted) const {
    std::vector<int32_t> place(count_, -1);
    for (size_t i = 0; i < leftmost.size(); ++i) place[leftmost[i]] = static_cast<int32_t>(i);
    std::vector<int32_t> numbers(leftmost.size());
    int32_t number = -1, last = -1;
    for (int32_t i : sorted) {
      if (i < 0 || place[i] < 0) continue;
      const bool same = last >= 0 && SamePiece(leftmost, place[last], place[i]);
      number += same ? 0 : 1;
      numbers[place[i]] = number;
      last = i;
    }
    std::vector<int32_t> order =
        Induced<int32_t>(numbers.data(), static_cast<int32_t>(numbers.size()), number + 1).Sort();
    for (int32_t& i : order) i = leftmost[i];
    return order;
  }

  // Whether the letters from one leftmost suffix to the next, that one included, are those of another.
  bool SamePiece(const std::vector<int32_t>& leftmost, int32_t a, int32_t b) const {
    const int32_t end = static_cast<int32_t>(leftmost.size());
    if (a + 1 == end || b + 1 == end) return false;
    const int32_t from = leftmost[a], other = leftmost[b], length = leftmost[a + 1] - from;
    return leftmost[b + 1] - other == length &&
           std::equal(text_ + from, text_ + from + length + 1, text_ + other);
  }

  const Letter* text_;
  int32_t count_;
  std::vector<bool> small_;
  std::vector<int32_t> large_first_, small_first_;
};

}  // namespace

std::vector<int32_t> SortSuffixes(const uint8_t* bytes, size_t count) {
  if (count == 0) return {};
  return Induced<uint8_t>(bytes, static_cast<int32_t>(count), 256).Sort();
}

}  // namespace osq
