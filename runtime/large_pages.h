// Memory of packed weights: in large pages where the system has them, since all of it is read in each product
// and the processor knows the places of few small pages.
#ifndef ONNXSQUEEZE_LARGE_PAGES_H_
#define ONNXSQUEEZE_LARGE_PAGES_H_

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace osq {

constexpr size_t kLine = 64, kLargePage = size_t{2} << 20;

// At least so many bytes from a cache line on; free() takes them back. Throws std::bad_alloc.
inline void* AllocatePages(size_t bytes) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  const size_t unit = bytes < kLargePage ? kLine : kLargePage;
  void* const memory = std::aligned_alloc(unit, (bytes / unit + 1) * unit);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Only whole pages, so that no more memory becomes resident. A system without them runs slower, no more.
  if (bytes >= kLargePage) madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
  return memory;
}

template <typename T>
struct PagesAllocator {
  using value_type = T;
  PagesAllocator() = default;
  template <typename Other>
  explicit PagesAllocator(const PagesAllocator<Other>&) {}
  T* allocate(size_t count) {
    if (count > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
    return static_cast<T*>(AllocatePages(count * sizeof(T)));
  }
  void deallocate(T* memory, size_t) { std::free(memory); }
  bool operator==(const PagesAllocator&) const { return true; }
  bool operator!=(const PagesAllocator&) const { return false; }
};

template <typename T>
using Pages = std::vector<T, PagesAllocator<T>>;

}  // namespace osq

#endif  // ONNXSQUEEZE_LARGE_PAGES_H_
