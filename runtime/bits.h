// Reading and writing runs of bits that begin anywhere in a byte. Bit 0 is the least significant one.
#ifndef ONNXSQUEEZE_BITS_H_
#define ONNXSQUEEZE_BITS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "onnxsqueeze's native library needs a little-endian machine."
#endif

#define OSQ_INLINE inline __attribute__((always_inline))

namespace osq {

template <typename T>
OSQ_INLINE T Load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
OSQ_INLINE void Store(void* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

// The 64 bits from bit `first`; touches only bytes that hold some of them.
OSQ_INLINE uint64_t LoadWord(const uint8_t* bits, size_t first) {
  const uint8_t* byte = bits + first / 8;
  const unsigned shift = first % 8;
  const uint64_t top = byte[shift == 0 ? 7 : 8];
  return Load<uint64_t>(byte) >> shift | top << 1 << (63 - shift);
}

// The `n` < 64 bits from bit `first`, zeros above them; touches only bytes that hold some of them.
OSQ_INLINE uint64_t LoadBits(const uint8_t* bits, size_t first, size_t n) {
  const uint8_t* byte = bits + first / 8;
  const unsigned shift = first % 8;
  uint64_t word = 0;
  for (size_t i = 0; 8 * i < shift + n; ++i) {
    word |= i == 0 ? uint64_t{byte[0]} >> shift : uint64_t{byte[i]} << (8 * i - shift);
  }
  return word & ~(~uint64_t{0} << n);
}

// Appends bits to a run. The first and the last byte of a run may be shared with neighbouring runs, also of
// other threads: they must be zero before, and are combined atomically. The bytes between belong to the run
// alone.
class BitWriter {
 public:
  void Begin(uint8_t* bits, size_t first) {
    byte_ = bits + first / 8;
    filled_ = first % 8;
    word_ = 0;
    shared_ = true;
  }

  // Appends the `n` <= 64 low bits of `bits`, the others being zero.
  OSQ_INLINE void Append(uint64_t bits, unsigned n) {
    word_ |= bits << filled_;
    if (filled_ + n < 64) {
      filled_ += n;
      return;
    }
    Flush(8);
    word_ = filled_ == 0 ? 0 : bits >> (64 - filled_);
    filled_ = filled_ + n - 64;
  }

  void End() {
    const unsigned whole = filled_ / 8;
    Flush(whole);
    if (filled_ % 8 != 0)
      __atomic_fetch_or(byte_, static_cast<uint8_t>(word_ >> (8 * whole)), __ATOMIC_RELAXED);
  }

 private:
  OSQ_INLINE void Flush(unsigned bytes) {
    unsigned i = 0;
    if (shared_ && bytes > 0) {
      __atomic_fetch_or(byte_, static_cast<uint8_t>(word_), __ATOMIC_RELAXED);
      shared_ = false;
      i = 1;
    } else if (bytes == 8) {
      Store(byte_, word_);
      i = 8;
    }
    for (; i < bytes; ++i) byte_[i] = static_cast<uint8_t>(word_ >> (8 * i));
    byte_ += bytes;
  }

  uint8_t* byte_;
  uint64_t word_;
  unsigned filled_;
  bool shared_;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_BITS_H_
