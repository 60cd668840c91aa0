// The C boundary (no exception crosses it) and a plain fork-join loop.
#ifndef ONNXSQUEEZE_PARALLEL_H_
#define ONNXSQUEEZE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "codec.h"

namespace osq {

constexpr size_t kMaxElements = size_t{1} << 28;

// Runs `body`, which returns a status, and turns exceptions into statuses.
template <typename Body>
int Guard(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return OSQ_NO_MEMORY;
  } catch (const std::length_error&) {
    return OSQ_NO_MEMORY;
  } catch (...) {
    return OSQ_INTERNAL;
  }
}

// How many of the allowed threads are worth starting for `count` elements.
inline size_t UsefulThreads(int threads, size_t count) {
  constexpr size_t kElementsPerThread = size_t{1} << 18;
  const size_t allowed = static_cast<size_t>(std::clamp(threads, 1, 256));
  return std::clamp<size_t>(count / kElementsPerThread, 1, allowed);
}

// Calls body(0) ... body(tasks - 1), each once, on up to `threads` threads; `body` returns a status and must
// not throw. Returns the first status (by task) that is not OSQ_OK.
template <typename Body>
int ParallelFor(size_t threads, size_t tasks, Body body) {
  std::vector<int> statuses(tasks, OSQ_OK);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t task = next++; task < tasks; task = next++) statuses[task] = body(task);
  };
  std::vector<std::thread> helpers;
  helpers.reserve(threads);
  try {
    while (helpers.size() + 1 < std::min(threads, tasks)) helpers.emplace_back(work);
  } catch (const std::exception&) {  // no more threads to be had: go on with those there are
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  const auto bad =
      std::find_if(statuses.begin(), statuses.end(), [](int status) { return status != OSQ_OK; });
  return bad == statuses.end() ? static_cast<int>(OSQ_OK) : *bad;
}

}  // namespace osq

#endif  // ONNXSQUEEZE_PARALLEL_H_
