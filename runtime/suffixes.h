// The suffix array of a run of bytes.
#ifndef ONNXSQUEEZE_SUFFIXES_H_
#define ONNXSQUEEZE_SUFFIXES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace osq {

// Where each suffix begins, in ascending order of the suffixes; one that ends early comes first. In linear
// time, by induced sorting (Nong, Zhang and Chan 2009). `count` is below 2^31.
std::vector<int32_t> SortSuffixes(const uint8_t* bytes, size_t count);

}  // namespace osq

#endif  // ONNXSQUEEZE_SUFFIXES_H_
