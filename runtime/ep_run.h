// One run of a compiled node: its inputs, outputs and threads; and its constants, read when it is compiled.
#ifndef ONNXSQUEEZE_EP_RUN_H_
#define ONNXSQUEEZE_EP_RUN_H_

#include "ep_compute.h"
#include "product.h"

namespace osq {

class Run {
 public:
  // `place`: of the main input, among those of the node.
  Run(const OrtApi* api, OrtKernelContext* context, size_t place);

  const std::vector<int64_t>& shape() const { return shape_; }  // of the input
  int type() const { return type_; }                            // of its elements

  template <typename T>
  const T* Input() const {
    return static_cast<const T*>(Data(const_cast<OrtValue*>(input_)));
  }

  // Other inputs.
  const float* Other(size_t place, std::vector<int64_t>* shape) const;
  Vector Constant(size_t place) const;

  template <typename T>
  T* Output(const std::vector<int64_t>& shape) const {
    OrtValue* output = nullptr;
    Check(ort::KernelContext_GetOutput::Call(api_, context_, 0, shape.data(), shape.size(), &output));
    return static_cast<T*>(Data(output));
  }

  // onnxruntime's own threads.
  Parallel Threads() const;

 private:
  void* Data(OrtValue* value) const;

  const OrtApi* api_;
  OrtKernelContext* context_;
  const OrtValue* input_ = nullptr;
  std::vector<int64_t> shape_;
  int type_ = 0;
};

// Throws where a status of codec.h says that a weight is corrupt.
void Require(int status);

Weight OpenedWeight(const Graph& graph, const GraphNode& decode);
Weight OpenedShared(const Graph& graph, const GraphNode& decode);  // throws where not all of it is indices
std::vector<float> DecodeFloats(const Weight& weight);
Epilogue EpilogueOf(const Graph& graph, const Match& match);

// `skip_from`: the share of zeros in an input of few rows from which on they are skipped; above 1: never.
std::unique_ptr<Compute> MakeSparseLinear(const Graph& graph, const Match& match, double skip_from);
std::unique_ptr<Compute> MakeSharedLinear(const Graph& graph, const Match& match);
std::unique_ptr<Compute> MakeSparseConvolution(const Graph& graph, const Match& match);
std::unique_ptr<Compute> MakePackedGather(const Graph& graph, const Match& match);

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_RUN_H_
