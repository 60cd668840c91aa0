#include "ep_compute.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "codec.h"

namespace osq {
namespace {

// The inputs, outputs and threads of one run.
class Run {
 public:
  Run(const OrtApi* api, OrtKernelContext* context) : api_(api), context_(context) {
    Check(ort::KernelContext_GetInput::Call(api, context, 0, &input_));
    shape_ = ShapeOf(api, input_);
  }

  const std::vector<int64_t>& shape() const { return shape_; }

  template <typename T>
  const T* Input() const {
    void* data = nullptr;
    Check(ort::GetTensorMutableData::Call(api_, const_cast<OrtValue*>(input_), &data));
    return static_cast<const T*>(data);
  }

  template <typename T>
  T* Output(const std::vector<int64_t>& shape) const {
    OrtValue* output = nullptr;
    Check(ort::KernelContext_GetOutput::Call(api_, context_, 0, shape.data(), shape.size(), &output));
    void* data = nullptr;
    Check(ort::GetTensorMutableData::Call(api_, output, &data));
    return static_cast<T*>(data);
  }

  // onnxruntime's own threads.
  void Parallel(size_t tasks, const std::function<void(size_t)>& body) const {
    if (tasks == 1) return body(0);
    const auto call = [](void* function, size_t task) {
      (*static_cast<const std::function<void(size_t)>*>(function))(task);
    };
    Check(ort::KernelContext_ParallelFor::Call(api_, context_, call, tasks, 0,
                                               const_cast<std::function<void(size_t)>*>(&body)));
  }

 private:
  const OrtApi* api_;
  OrtKernelContext* context_;
  const OrtValue* input_ = nullptr;
  std::vector<int64_t> shape_;
};

void Require(int status) {
  if (status != OSQ_OK)
    throw std::runtime_error(std::string("a packed weight is corrupt: ") + osq_error(status));
}

std::vector<float> DecodeFloats(const Graph& graph, const GraphNode& decode) {
  Weight weight;
  Require(OpenWeight(graph, decode, &weight));
  std::vector<float> values(weight.total());
  Require(weight.Decode(1, values.data()));
  return values;
}

Epilogue EpilogueOf(const Graph& graph, const Match& match) {
  Epilogue epilogue{{}, match.activation, match.low, match.high};
  if (match.bias.handle == nullptr) return epilogue;
  if (const GraphNode* decode = graph.Producer(match.bias.name)) {
    epilogue.bias = DecodeFloats(graph, *decode);
  } else {
    std::vector<int64_t> shape;
    const Vector bias = graph.Constant(match.bias, &shape);
    epilogue.bias.assign(bias.floats(), bias.floats() + bias.count);
  }
  return epilogue;
}

constexpr size_t kFew = 3;  // rows of x up to which they are taken one by one

class LinearCompute : public Compute {
 public:
  LinearCompute(const Graph& graph, const Match& match)
      : api_(graph.api()), epilogue_(EpilogueOf(graph, match)) {
    Weight weight;
    Require(OpenWeight(graph, *match.decode, &weight));
    const auto first = static_cast<size_t>(weight.shape()[0]),
               second = static_cast<size_t>(weight.shape()[1]);
    const std::vector<float> dense = DecodeFloats(graph, *match.decode);
    const DenseMatrix matrix = match.transposed ? DenseMatrix{dense.data(), first, second, second, 1}
                                                : DenseMatrix{dense.data(), second, first, 1, second};
    vector_ = PackRows(matrix, {Use::kVector});
    panel_ = PackRows(matrix, {Use::kPanel});
  }

  void Run(OrtKernelContext* context) const override {
    const osq::Run run(api_, context);
    std::vector<int64_t> shape = run.shape();
    if (shape.empty() || shape.back() != static_cast<int64_t>(panel_.columns)) {
      throw std::runtime_error("the input's last dimension is not " + std::to_string(panel_.columns));
    }
    const auto batch = std::accumulate(shape.begin(), shape.end() - 1, size_t{1},
                                       [](size_t n, int64_t d) { return n * static_cast<size_t>(d); });
    shape.back() = static_cast<int64_t>(panel_.rows);
    float* const y = run.Output<float>(shape);
    SparseLinear(batch <= kFew ? vector_ : panel_, run.Input<float>(), batch, epilogue_, y,
                 [&](size_t tasks, const std::function<void(size_t)>& body) { run.Parallel(tasks, body); });
  }

 private:
  const OrtApi* api_;
  Epilogue epilogue_;
  SparseRows vector_, panel_;  // for few rows of x, and for many
};

class ConvolutionCompute : public Compute {
 public:
  ConvolutionCompute(const Graph& graph, const Match& match)
      : api_(graph.api()), epilogue_(EpilogueOf(graph, match)) {
    Weight weight;
    Require(OpenWeight(graph, *match.decode, &weight));
    const std::vector<int64_t>& shape = weight.shape();
    spatial_ = shape.size() - 2;
    const GraphNode& node = *match.consumer;
    auto_pad_ = graph.String(node, "auto_pad", "NOTSET");
    const std::vector<int64_t> strides = graph.Ints(node, "strides"),
                               dilations = graph.Ints(node, "dilations");
    pads_ = graph.Ints(node, "pads");
    pads_.resize(2 * spatial_, 0);
    RequireRange(strides, 1);
    RequireRange(dilations, 1);
    RequireRange(pads_, 0);
    const int64_t groups = graph.Int(node, "group", 1);
    if (groups < 1 || shape[0] % groups != 0)
      throw std::runtime_error("group of Conv does not fit the weight");
    plan_.groups = static_cast<size_t>(groups);
    plan_.channels = static_cast<size_t>(shape[1]) * plan_.groups;
    for (size_t i = 0; i < spatial_; ++i) {
      const size_t d = i + 2 - spatial_;
      plan_.kernel[d] = static_cast<size_t>(shape[i + 2]);
      if (i < strides.size()) plan_.stride[d] = static_cast<size_t>(strides[i]);
      if (i < dilations.size()) plan_.dilation[d] = static_cast<size_t>(dilations[i]);
    }
    const std::vector<float> dense = DecodeFloats(graph, *match.decode);
    const auto rows = static_cast<size_t>(shape[0]), columns = dense.size() / rows;
    if (plan_.groups == 0 || rows % plan_.groups != 0)
      throw std::runtime_error("group does not fit the weight");
    matrix_ = PackRows({dense.data(), rows, columns, columns, 1}, {Use::kConvolution, plan_.groups});
  }

  void Run(OrtKernelContext* context) const override {
    const osq::Run run(api_, context);
    const std::vector<int64_t>& shape = run.shape();
    if (shape.size() != spatial_ + 2 || shape[1] != static_cast<int64_t>(plan_.channels)) {
      throw std::runtime_error("the input does not have " + std::to_string(plan_.channels) + " channels");
    }
    Convolution plan = plan_;
    std::vector<int64_t> result = {shape[0], static_cast<int64_t>(matrix_.rows)};
    for (size_t i = 0; i < spatial_; ++i) {
      Measure(&plan, i, static_cast<size_t>(shape[i + 2]));
      result.push_back(static_cast<int64_t>(plan.output[i + 2 - spatial_]));
    }
    float* const y = run.Output<float>(result);
    SparseConvolve(matrix_, plan, run.Input<float>(), static_cast<size_t>(shape[0]), epilogue_, y,
                   [&](size_t tasks, const std::function<void(size_t)>& body) { run.Parallel(tasks, body); });
  }

 private:
  static void RequireRange(const std::vector<int64_t>& values, int64_t least) {
    for (const int64_t value : values) {
      if (value < least || value > INT32_MAX)
        throw std::runtime_error("an attribute of Conv is out of range");
    }
  }

  // Padding and output size of spatial dimension `i`, for an input of `size`.
  void Measure(Convolution* plan, size_t i, size_t size) const {
    const size_t d = i + 2 - spatial_, stride = plan->stride[d];
    const size_t extent = (plan->kernel[d] - 1) * plan->dilation[d] + 1;
    auto before = static_cast<size_t>(pads_[i]), after = static_cast<size_t>(pads_[i + spatial_]);
    if (auto_pad_ == "VALID") before = after = 0;
    if (auto_pad_ == "SAME_UPPER" || auto_pad_ == "SAME_LOWER") {
      const size_t wanted = ((size + stride - 1) / stride - (size > 0 ? 1 : 0)) * stride + extent;
      const size_t both = wanted > size ? wanted - size : 0;
      before = auto_pad_ == "SAME_LOWER" ? both - both / 2 : both / 2;
      after = both - before;
    }
    plan->pad[d] = before;
    plan->input[d] = size;
    const size_t padded = size + before + after;
    if (padded < extent) throw std::runtime_error("the input is smaller than the kernel");
    plan->output[d] = (padded - extent) / stride + 1;
  }

  const OrtApi* api_;
  Epilogue epilogue_;
  SparseRows matrix_;
  Convolution plan_;
  size_t spatial_ = 2;
  std::vector<int64_t> pads_;
  std::string auto_pad_;
};

}  // namespace

std::unique_ptr<Compute> MakeCompute(const Graph& graph, const Match& match) {
  if (match.kind == Match::kLinear) return std::make_unique<LinearCompute>(graph, match);
  return std::make_unique<ConvolutionCompute>(graph, match);
}

}  // namespace osq
