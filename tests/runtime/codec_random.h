// Seeded randomness for the tests, and arrays of exactly the declared size for the sanitizers to watch.
#ifndef ONNXSQUEEZE_TESTS_CODEC_RANDOM_H_
#define ONNXSQUEEZE_TESTS_CODEC_RANDOM_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "codec_reference.h"

using reference::Bytes;
using reference::Ints;
using reference::Stream;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {  // splitmix64
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  size_t Below(size_t end) { return Next() % end; }
  size_t Between(size_t first, size_t last) { return first + Below(last - first + 1); }
  bool Chance(size_t in) { return Below(in) == 0; }

  Bytes BytesBelow(size_t count, size_t end) {
    Bytes bytes(count);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(Below(end));
    return bytes;
  }

 private:
  uint64_t state_;
};

// An array with nothing behind it, so that one byte too far is found: by turns a heap block of its own, for
// the sanitizers to watch, and the end of a page before one that must not be touched, for instructions they
// cannot see.
template <typename T>
class Exact {
 public:
  explicit Exact(size_t count) : count_(count) {
    static size_t turn = 0;
    if (turn++ % 2 == 0) {
      heap_.reset(new T[count]);
      data_ = heap_.get();
      return;
    }
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t used = (count * sizeof(T) + page - 1) / page * page;
    mapped_ = used + page;
    pages_ =
        static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0));
    CHECK(pages_ != MAP_FAILED && mprotect(pages_ + used, page, PROT_NONE) == 0);
    data_ = reinterpret_cast<T*>(pages_ + used) - count;
  }
  explicit Exact(const std::vector<T>& values) : Exact(values.size()) {
    std::copy(values.begin(), values.end(), data_);
  }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  ~Exact() {
    if (pages_ != nullptr) munmap(pages_, mapped_);
  }

  T* data() const { return data_; }
  std::vector<T> vector() const { return std::vector<T>(data_, data_ + count_); }

 private:
  size_t count_, mapped_ = 0;
  std::unique_ptr<T[]> heap_;
  char* pages_ = nullptr;
  T* data_;
};

// Lengths of a complete code with `leaves` >= 2 leaves, at most 12 bits each, non-decreasing.
inline Bytes RandomCode(Random* random, size_t leaves) {
  Bytes lengths = {1, 1};
  while (lengths.size() < leaves) {
    const auto shortest = std::min_element(lengths.begin(), lengths.end());
    auto split =
        random->Chance(2) ? std::prev(lengths.end()) : lengths.begin() + random->Below(lengths.size());
    if (*split == 12) split = shortest;  // 256 leaves always have one of 8 bits or fewer
    lengths.push_back(++*split);
  }
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

// `count` leaf numbers, about as often as their lengths say, each at least once; count >= lengths.size().
inline Bytes RandomLeaves(Random* random, const Bytes& lengths, size_t count) {
  std::vector<size_t> ends;
  size_t sum = 0;
  for (const uint8_t length : lengths) ends.push_back(sum += size_t{1} << (12 - length));
  Bytes values(count);
  for (uint8_t& value : values) {
    const auto at = std::upper_bound(ends.begin(), ends.end(), random->Below(4096));
    value = static_cast<uint8_t>(at - ends.begin());
  }
  std::vector<size_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  for (size_t j = 0; j < lengths.size(); ++j) {
    std::swap(places[j], places[random->Between(j, count - 1)]);
    values[places[j]] = static_cast<uint8_t>(j);
  }
  return values;
}

#endif  // ONNXSQUEEZE_TESTS_CODEC_RANDOM_H_
