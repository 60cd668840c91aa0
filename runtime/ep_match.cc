#include "ep_match.h"

#include <algorithm>
#include <limits>

namespace osq {
namespace {

constexpr const char* kDomain = "ai.onnxsqueeze";
constexpr const char* kLists[] = {"shape",   "total",    "entries",  "groups",     "kept",     "moved",
                                  "perm",    "v_sizes",  "v_zeros",  "v_leaves",   "v_starts", "p_sizes",
                                  "p_zeros", "p_leaves", "p_starts", "scale_shape"};

bool IsStandard(const GraphNode& node) { return node.domain.empty() || node.domain == "ai.onnx"; }

size_t WidthOf(const std::vector<int64_t>& shape) {
  return static_cast<size_t>(shape.empty() ? 1 : shape.back());
}

// Whether a value is one number per output channel: a constant [width] or [1, ..., width] of `rank` or fewer
// dimensions, or a packed weight. One that several nodes share is not taken over: by the time that matters it
// is a constant.
bool IsBias(const Graph& graph, const GraphValue& value, size_t width, size_t rank) {
  std::vector<int64_t> shape;
  const Vector constant = graph.Constant(value, &shape);
  if (constant.data != nullptr) {
    const bool fits = shape.size() <= rank && WidthOf(shape) == width;
    return constant.type == kFloat && constant.count == width && fits;
  }
  const GraphNode* decode = graph.Producer(value.name);
  if (decode == nullptr || !IsDecode(*decode)) return false;
  Weight weight;
  if (OpenWeight(graph, *decode, &weight) != OSQ_OK) return false;
  const bool fits = weight.shape().size() <= rank && WidthOf(weight.shape()) == width;
  return weight.type() == kFloat && weight.total() == width && fits;
}

// The bound of a Clip: a constant, or what stands for none.
bool ReadBound(const Graph& graph, const GraphNode& node, size_t place, float* bound) {
  if (place >= node.inputs.size() || node.inputs[place].name.empty()) return true;
  std::vector<int64_t> shape;
  const Vector constant = graph.Constant(node.inputs[place], &shape);
  if (constant.data == nullptr || constant.type != kFloat || constant.count != 1) return false;
  *bound = *constant.floats();
  return true;
}

Attributes AttributesOf(const Graph& graph, const GraphNode& decode) {
  Attributes attributes;
  for (const char* name : kLists) {
    std::vector<int64_t> values = graph.Ints(decode, name);
    if (!values.empty()) attributes[name] = std::move(values);
  }
  if (const int64_t to = graph.Int(decode, "to", 0)) attributes["to"] = {to};
  return attributes;
}

class Matcher {
 public:
  Matcher(const Graph& graph, const GraphNode& decode) : graph_(graph) { match_.decode = &decode; }

  std::optional<Match> Find() {
    match_.consumer = graph_.OnlyConsumer(match_.decode->outputs[0]);
    if (match_.consumer == nullptr || !IsStandard(*match_.consumer)) return std::nullopt;
    if (OpenWeight(graph_, *match_.decode, &weight_) != OSQ_OK || weight_.type() != kFloat)
      return std::nullopt;
    Take(match_.decode);
    Take(match_.consumer);
    if (!MatchConsumer()) return std::nullopt;
    std::vector<int64_t> shape;  // onnxruntime takes constants away from nodes that are taken over
    if (graph_.Constant(match_.input, &shape).data != nullptr) return std::nullopt;
    match_.output = match_.consumer->outputs[0];
    if (match_.kind == Match::kGather) return match_;
    FollowBias();
    FollowResidual();
    FollowActivation();
    return match_;
  }

 private:
  void Take(const GraphNode* node) { match_.nodes.push_back(node); }

  bool Weighs(size_t place) const {
    return match_.consumer->inputs.size() > place &&
           match_.consumer->inputs[place].name == match_.decode->outputs[0].name;
  }

  bool MatchConsumer() {
    const GraphNode& node = *match_.consumer;
    const size_t rank = weight_.shape().size();
    match_.input = node.inputs[0];
    if (node.op_type == "MatMul") {
      match_.kind = Match::kLinear;
      width_ = WidthOf(weight_.shape());
      return Weighs(1) && rank == 2;
    }
    if (node.op_type == "Gemm") return Weighs(1) && rank == 2 && MatchGemm(node);
    if (node.op_type == "Gather") return Weighs(0) && rank >= 2 && MatchGather(node);
    if (node.op_type == "Conv") return Weighs(1) && (rank == 3 || rank == 4) && MatchConvolution(node);
    return false;
  }

  bool MatchGemm(const GraphNode& node) {
    match_.kind = Match::kLinear;
    match_.transposed = graph_.Int(node, "transB", 0) != 0;
    width_ = static_cast<size_t>(weight_.shape()[match_.transposed ? 0 : 1]);
    const bool plain = graph_.Int(node, "transA", 0) == 0 && graph_.Float(node, "alpha", 1) == 1;
    return plain && graph_.Float(node, "beta", 1) == 1 && MatchBias(node);
  }

  bool MatchGather(const GraphNode& node) {
    match_.kind = Match::kGather;
    match_.input = node.inputs[1];
    return graph_.Int(node, "axis", 0) == 0 && weight_.spec().is_shared();
  }

  bool MatchConvolution(const GraphNode& node) {
    match_.kind = Match::kConvolution;
    width_ = static_cast<size_t>(weight_.shape()[0]);
    return MatchBias(node);
  }

  // The third input of Gemm and Conv.
  bool MatchBias(const GraphNode& node) {
    if (node.inputs.size() < 3 || node.inputs[2].name.empty()) return true;
    return IsBias(graph_, node.inputs[2], width_, 2) && TakeBias(node.inputs[2]);
  }

  bool TakeBias(const GraphValue& value) {
    match_.bias = value;
    const GraphNode* decode = graph_.Producer(value.name);
    if (decode != nullptr && graph_.OnlyConsumer(value) != nullptr) Take(decode);
    return true;
  }

  // MatMul and then Add. A bias of more dimensions than the product would give the sum more of them, too.
  void FollowBias() {
    if (!match_.bias.name.empty() || match_.kind != Match::kLinear) return;
    const GraphNode* add = graph_.OnlyConsumer(match_.output);
    if (add == nullptr || !IsStandard(*add) || add->op_type != "Add") return;
    const GraphValue& other = add->inputs[add->inputs[0].name == match_.output.name ? 1 : 0];
    const size_t known =
        std::max(graph_.KnownShape(match_.output).size(), graph_.KnownShape(match_.input).size());
    const size_t rank = std::max<size_t>(known, 1);  // at least, where it is not known
    if (other.name == match_.output.name || !IsBias(graph_, other, width_, rank)) return;
    TakeBias(other);
    Take(add);
    match_.output = add->outputs[0];
  }

  // Conv and then Add of a tensor of the same shape; only the batch may be unknown. Where both are results of
  // Conv with packed weights, the later one takes the Add.
  void FollowResidual() {
    if (match_.kind != Match::kConvolution) return;
    const GraphNode* add = graph_.OnlyConsumer(match_.output);
    if (add == nullptr || !IsStandard(*add) || add->op_type != "Add") return;
    const GraphValue& other = add->inputs[add->inputs[0].name == match_.output.name ? 1 : 0];
    std::vector<int64_t> shape;
    if (other.name == match_.output.name || graph_.Constant(other, &shape).data != nullptr) return;
    const GraphNode* rival = graph_.Producer(other.name);
    if (rival > match_.consumer && rival->op_type == "Conv") return;
    shape = graph_.KnownShape(match_.output);
    if (shape.empty() || graph_.KnownShape(other) != shape) return;
    if (std::any_of(shape.begin() + 1, shape.end(), [](int64_t d) { return d < 1; })) return;
    match_.residual = other;
    Take(add);
    match_.output = add->outputs[0];
  }

  void FollowActivation() {
    const GraphNode* node = graph_.OnlyConsumer(match_.output);
    if (node == nullptr || node->inputs[0].name != match_.output.name) return;
    const bool contributed = node->domain == "com.microsoft";
    if (!IsStandard(*node) && !(contributed && node->op_type == "Gelu")) return;
    if (!ReadActivation(*node)) return;
    Take(node);
    match_.output = node->outputs[0];
  }

  bool ReadActivation(const GraphNode& node) {
    if (node.op_type == "Relu") match_.activation = Activation::kRelu;
    if (node.op_type == "ThresholdedRelu") {
      match_.low = graph_.Float(node, "alpha", 1);
      match_.activation = Activation::kThreshold;
    }
    if (node.op_type == "HardSwish") match_.activation = Activation::kHardSwish;
    if (node.op_type == "Gelu" && graph_.String(node, "approximate", "none") == "none") {
      match_.activation = Activation::kGelu;
    }
    if (node.op_type == "Clip") {
      match_.low =
          graph_.Float(node, "min", std::numeric_limits<float>::lowest());  // attributes before opset 11
      match_.high = graph_.Float(node, "max", std::numeric_limits<float>::max());
      if (!ReadBound(graph_, node, 1, &match_.low) || !ReadBound(graph_, node, 2, &match_.high)) return false;
      match_.low = std::min(match_.low, match_.high);  // where they cross, ONNX asks for `max` everywhere
      match_.activation = Activation::kClip;
    }
    return match_.activation != Activation::kNone;
  }

  const Graph& graph_;
  Match match_{};
  Weight weight_;
  size_t width_ = 0;  // output channels
};

}  // namespace

bool IsDecode(const GraphNode& node) { return node.domain == kDomain && node.outputs.size() == 1; }

std::string IdentityOf(const Graph& graph, const GraphNode& decode) {
  std::string identity = decode.outputs[0].name + '\0' + decode.op_type;
  for (const auto& [name, values] : AttributesOf(graph, decode)) {
    identity += ' ' + name;
    for (const int64_t value : values) identity += ' ' + std::to_string(value);
  }
  return identity;
}

int OpenWeight(const Graph& graph, const GraphNode& decode, Weight* weight) {
  std::vector<Vector> inputs;
  for (const GraphValue& value : decode.inputs) {
    std::vector<int64_t> shape;
    inputs.push_back(graph.Constant(value, &shape));
    if (shape.size() != 1) return OSQ_INPUT;
  }
  return weight->Open(decode.op_type, AttributesOf(graph, decode), inputs);
}

std::optional<Match> FindMatch(const Graph& graph, const GraphNode& decode) {
  return Matcher(graph, decode).Find();
}

}  // namespace osq
