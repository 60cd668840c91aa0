// Conv with sparse weights.
#include <stdexcept>

#include "ep_run.h"
#include "sparse.h"

namespace osq {
namespace {

class ConvolutionCompute : public Compute {
 public:
  ConvolutionCompute(const Graph& graph, const Match& match)
      : api_(graph.api()), epilogue_(EpilogueOf(graph, match)), has_residual_(!match.residual.name.empty()) {
    const Weight weight = OpenedWeight(graph, *match.decode);
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
    const std::vector<float> dense = DecodeFloats(weight);
    const auto rows = static_cast<size_t>(shape[0]), columns = dense.size() / rows;
    if (plan_.groups == 0 || rows % plan_.groups != 0)
      throw std::runtime_error("group does not fit the weight");
    matrix_ = PackRows({dense.data(), rows, columns, columns, 1}, {Use::kConvolution, plan_.groups});
  }

  void Run(OrtKernelContext* context, const Places& places) const override {
    const osq::Run run(api_, context, places.input);
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
    const float* residual = nullptr;
    std::vector<int64_t> added = result;
    if (has_residual_) residual = run.Other(places.residual, &added);
    if (added == result) {
      float* const y = run.Output<float>(result);
      SparseConvolve(matrix_, plan, run.Input<float>(), static_cast<size_t>(shape[0]), epilogue_, residual, y,
                     run.Threads());
    } else {
      Broadcast(run, plan, residual, added, result);
    }
  }

 private:
  // A batch of one image, or of one residual, with those of the other.
  void Broadcast(const osq::Run& run, const Convolution& plan, const float* residual,
                 const std::vector<int64_t>& added, std::vector<int64_t> result) const {
    const int64_t images = result[0], residuals = added.empty() ? 0 : added[0];
    result[0] = residuals;
    if (added != result || (images != 1 && residuals != 1)) {
      throw std::runtime_error("what is added to the result of Conv has another shape");
    }
    result[0] = images == 1 ? residuals : images;
    float* const y = run.Output<float>(result);
    const size_t size = matrix_.rows * plan.output[0] * plan.output[1];
    const size_t taken = plan.channels * plan.input[0] * plan.input[1];
    for (size_t b = 0; b < static_cast<size_t>(result[0]); ++b) {
      SparseConvolve(matrix_, plan, run.Input<float>() + (images == 1 ? 0 : b * taken), 1, epilogue_,
                     residual + (residuals == 1 ? 0 : b * size), y + b * size, run.Threads());
    }
  }

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
  bool has_residual_;
  SparseRows matrix_;
  Convolution plan_;
  size_t spatial_ = 2;
  std::vector<int64_t> pads_;
  std::string auto_pad_;
};

}  // namespace

std::unique_ptr<Compute> MakeSparseConvolution(const Graph& graph, const Match& match) {
  return std::make_unique<ConvolutionCompute>(graph, match);
}

}  // namespace osq
