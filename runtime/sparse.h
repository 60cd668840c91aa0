// Sparse matrices times dense ones, and sparse convolutions, in float32.
//
// A sparse matrix is kept by rows, one row an output channel: values, and which input each belongs to. Many
// columns are computed at once: a value is multiplied with a run of neighbours in the input, which lie side
// by side. Where its run begins is looked up in a table with one entry an input; so the same kernel
// multiplies matrices and convolves, without unfolding the input.
#ifndef ONNXSQUEEZE_SPARSE_H_
#define ONNXSQUEEZE_SPARSE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace osq {

constexpr size_t kPanel = 64;  // columns computed at once; inputs are readable this far past their end

// Calls body(0) ... body(tasks - 1), each once, in any order and on any thread.
using Parallel = std::function<void(size_t tasks, const std::function<void(size_t)>& body)>;

enum class Activation { kNone, kRelu, kClip, kHardSwish, kGelu };

// What is done to a result before it is stored.
struct Epilogue {
  std::vector<float> bias;  // one an output channel, or none
  Activation activation = Activation::kNone;
  float low = 0, high = 0;  // of kClip

  float BiasOf(size_t row) const { return bias.empty() ? 0 : bias[row]; }
  void Apply(float* values, size_t n) const;
};

// Rows of a sparse matrix, each sorted by column. Inputs below 2^16 are numbered in 16 bits, others in 32.
struct SparseRows {
  size_t rows = 0, columns = 0;
  size_t blocks = 1;             // of columns, whose inputs fit the nearest cache together
  std::vector<uint32_t> begins;  // of row r's values in block b: begins[r * blocks + b]; and one at the end
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
  std::vector<float> values;

  size_t size() const { return values.size(); }
  size_t begin(size_t row, size_t block) const { return begins[row * blocks + block]; }
  size_t bytes() const;
};

// The nonzeros of a matrix: element (r, c) is dense[r * row_stride + c * column_stride].
SparseRows PackRows(const float* dense, size_t rows, size_t columns, size_t row_stride, size_t column_stride,
                    size_t block_columns);

// Inputs of a block whose runs stay in the nearest cache, measured: those of a matrix, and the channels of a
// convolution, whose runs are longer by the kernel's reach.
constexpr size_t kLinearBlock = 192, kConvolutionBlock = 48;

// y [batch, rows] = x [batch, columns] times the transposed matrix.
void SparseLinear(const SparseRows& matrix, const float* x, size_t batch, const Epilogue& epilogue, float* y,
                  const Parallel& parallel);

// A convolution of one or two spatial dimensions; of one, height is 1 everywhere.
struct Convolution {
  size_t channels = 0, groups = 1;  // inputs; outputs are the rows of the matrix
  size_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  size_t pad[2] = {0, 0};                        // before
  size_t input[2] = {1, 1}, output[2] = {1, 1};  // sizes of one channel
};

// y [batch, rows, output] = x [batch, channels, input] convolved with the matrix [rows, channels / groups *
// kernel].
void SparseConvolve(const SparseRows& matrix, const Convolution& convolution, const float* x, size_t batch,
                    const Epilogue& epilogue, float* y, const Parallel& parallel);

// A block of columns of some rows: row r has the values begins[r * step] ... ends[r * step] - 1.
template <typename Index>
struct SparseBlock {
  const float* values;
  const Index* index;
  const uint32_t *begins, *ends;
  size_t rows, step;
  const uint32_t* table;  // where the run of each column begins in the input
};

// The inner loops for one instruction set; results of different ones agree to rounding.
struct SparseKernels {
  // out[r * width + j] += sum over row r's values i of values[i] * in[table[index[i]] + j], for j < width, a
  // multiple of 16.
  template <typename Index>
  using Multiply = void (*)(const SparseBlock<Index>& block, const float* in, size_t width, float* out);
  Multiply<uint16_t> multiply16;
  Multiply<uint32_t> multiply32;

  // Sum over i of values[i] * in[index[i]].
  template <typename Index>
  using Dot = float (*)(const float* values, const Index* index, size_t n, const float* in);
  Dot<uint16_t> dot16;
  Dot<uint32_t> dot32;
};

const SparseKernels& ActiveSparseKernels();

extern const SparseKernels kPortableSparseKernels;
#ifdef __x86_64__
extern const SparseKernels kAvx2SparseKernels;
extern const SparseKernels kAvx512SparseKernels;
#endif

}  // namespace osq

#endif  // ONNXSQUEEZE_SPARSE_H_
