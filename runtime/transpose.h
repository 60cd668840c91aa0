// Arrays whose elements lie in another order.
#ifndef ONNXSQUEEZE_TRANSPOSE_H_
#define ONNXSQUEEZE_TRANSPOSE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace osq {

// A dimension: how many elements, and how far apart they lie.
struct Axis {
  size_t size, step;
};

// Writes elements of 2, 4 or 8 bytes in row-major order.
void Transpose(const uint8_t* from, size_t item, const std::vector<Axis>& axes, uint8_t* out);

}  // namespace osq

#endif  // ONNXSQUEEZE_TRANSPOSE_H_
