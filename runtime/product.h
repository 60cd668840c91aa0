// What products with packed weights have in common: threads, what is done to results, and convolutions.
#ifndef ONNXSQUEEZE_PRODUCT_H_
#define ONNXSQUEEZE_PRODUCT_H_

#include <cstddef>
#include <functional>
#include <vector>

namespace osq {

// Calls body(0) ... body(tasks - 1), each once, in any order and on any thread; `body` does not throw. What
// the tasks are never depends on the number of threads, so neither do results.
using Parallel = std::function<void(size_t tasks, const std::function<void(size_t)>& body)>;

enum class Activation { kNone, kRelu, kThreshold, kClip, kHardSwish, kGelu };

// What is done to a result before it is stored: the bias is added, then the activation applied.
struct Epilogue {
  std::vector<float> bias;  // one an output channel, or none
  Activation activation = Activation::kNone;
  float low = 0, high = 0;  // of kClip; kThreshold: what is at most `low` becomes zero

  float BiasOf(size_t row) const { return bias.empty() ? 0 : bias[row]; }
  void Apply(float* values, size_t n) const;
};

// What a packed weight will meet. It decides the layout.
enum class Use {
  kVector,       // products with one or a few vectors
  kVectorZeros,  // the same, with many zeros in the vectors (after Relu): columns that meet zeros are skipped
  kPanel,        // products with some vectors or many
  kConvolution,  // convolutions
};

struct Purpose {
  Use use = Use::kPanel;
  size_t groups = 1;  // of a convolution
};

// A convolution of one or two spatial dimensions; of one, height is 1 everywhere.
struct Convolution {
  size_t channels = 0, groups = 1;  // inputs; outputs are the rows of the matrix
  size_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  size_t pad[2] = {0, 0};                        // before
  size_t input[2] = {1, 1}, output[2] = {1, 1};  // sizes of one channel
};

}  // namespace osq

#endif  // ONNXSQUEEZE_PRODUCT_H_
