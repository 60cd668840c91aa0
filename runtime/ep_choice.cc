#include "ep_choice.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <locale>
#include <sstream>
#include <stdexcept>

#include "codec.h"

namespace osq {
namespace {

constexpr int64_t kPositionsWorthIt = 16;  // of an output of a convolution: fewer do not fill a panel
// So many more zeros are asked for where the positions are not known, which may be few; but at most half of
// what is left.
constexpr double kForUnknownPositions = 0.15;
constexpr size_t kWorthIt = 4096;         // weights below which a layer takes no time either way
constexpr size_t kCached = 320 << 10;     // weights that a cache may hold: dense does not wait for memory
constexpr size_t kRowsWorthIt = 1 << 16;  // elements of an embedding whose memory counts
// What the input of one column costs to lay out, as a share of zeros times outputs: in products with more
// rows than a vector, and in convolutions.
constexpr double kPerColumn = 8;
// The same, of what onnxruntime does between its layout of convolutions and ours: as measured, once for each
// column and once for each output.
constexpr double kFromDense = 6, kToDense = 10;
constexpr int kMostBetween = 3;  // nodes between two convolutions, all in the layout of these

// Options of a session: "" where one is not set.
std::string Option(const OrtApi* api, const OrtSessionOptions* options, const char* name) {
  const std::string key = std::string("ep.squeezeexecutionprovider.") + name;
  int there = 0;
  Check(ort::HasSessionConfigEntry::Call(api, options, key.c_str(), &there));
  if (there == 0) return "";
  char text[4096] = {};
  size_t size = sizeof(text);
  Check(ort::GetSessionConfigEntry::Call(api, options, key.c_str(), text, &size));
  return text;
}

// What an instruction set is sure to be good for, where nothing was measured: shares of zeros from which on
// sparse kernels are faster, and the widest indices whose products are.
std::map<std::string, double> Guesses() {
  if (std::strcmp(osq_isa(), "avx512") == 0) {
    return {{"vector", 0.7},   {"cached", 0.7},     {"shared_cached", 6}, {"few", 0.7},
            {"many", 0.75},    {"pointwise", 0.72}, {"spatial", 0.78},    {"shared_vector", 6},
            {"shared_few", 0}, {"skipping", 0.85}};
  }
  const double shared = std::strcmp(osq_isa(), "avx2") == 0 ? 4 : 0;
  return {{"vector", 0.8},   {"cached", 0.8},     {"shared_cached", shared}, {"few", 0.88},
          {"many", 0.88},    {"pointwise", 0.88}, {"spatial", 0.9},          {"shared_vector", shared},
          {"shared_few", 0}, {"skipping", 0.85}};
}

// Below it no kernel gains from zeros, whatever was measured.
constexpr double kFewZeros = 0.3;

// Share of the weight's elements that are zero: counted where they may be many, else at most. Returns -1
// where it does not decode.
double ZerosOf(const Weight& weight) {
  const auto total = static_cast<double>(weight.total());
  const double most = static_cast<double>(weight.ZerosByLayout()) / total;
  if (most < kFewZeros || weight.spec().layout == Spec::kGaps || weight.spec().layout == Spec::kNm)
    return most;
  std::vector<float> values(weight.total());
  if (weight.Decode(1, values.data()) != OSQ_OK) return -1;
  return static_cast<double>(std::count(values.begin(), values.end(), 0.0f)) / total;
}

// Whether products with few rows run in the kernels of nm.h, and those gain from half of the products.
bool IsNm(const Weight& weight, int64_t rows) {
  const int64_t most = std::strcmp(osq_isa(), "avx512") == 0 ? 16
                       : std::strcmp(osq_isa(), "avx2") == 0 ? 3
                                                             : -1;
  return weight.spec().layout == Spec::kNm && rows >= 0 && rows <= most && weight.spec().positions.bits <= 4;
}

int BitsOf(const Weight& weight) {
  int bits = 1;
  while (size_t{1} << bits < weight.input("codebook").count) ++bits;
  return bits;
}

std::string Percent(double zeros) {
  if (zeros < kFewZeros) return "few zeros";
  char text[40];
  std::snprintf(text, sizeof(text), "%.1f %% zeros", 100 * zeros);
  return text;
}

// Whether a value comes from a Relu with a threshold, whose purpose are zeros.
bool IsCut(const Graph& graph, const GraphValue& value) {
  constexpr const char* kMoves[] = {"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"};
  const GraphNode* node = graph.Producer(value.name);
  const auto moves = [&] {
    return std::any_of(std::begin(kMoves), std::end(kMoves),
                       [&](const char* name) { return node->op_type == name; });
  };
  while (node != nullptr && moves()) node = graph.Producer(node->inputs[0].name);
  return node != nullptr && node->op_type == "ThresholdedRelu";
}

bool IsActivation(const GraphNode& node) {
  constexpr const char* kNames[] = {"Clip", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "ThresholdedRelu"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](const char* name) { return node.op_type == name; });
}

bool KeepsLayout(const GraphNode& node) { return node.op_type == "Add" || IsActivation(node); }

// Rows of the input of a product; -1 where its shape leaves them open.
int64_t RowsOf(const std::vector<int64_t>& shape) {
  int64_t rows = shape.empty() ? -1 : 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows = shape[i] < 0 || rows < 0 ? -1 : rows * shape[i];
  return rows;
}

// Positions of an output of Conv; -1 where its shape leaves them open.
int64_t PositionsOf(const std::vector<int64_t>& shape) {
  int64_t positions = shape.size() < 3 ? -1 : 1;
  for (size_t i = 2; i < shape.size(); ++i)
    positions = shape[i] < 0 || positions < 0 ? -1 : positions * shape[i];
  return positions;
}

Consumer ConvolutionOf(const Graph& graph, const GraphNode& node) {
  Consumer consumer{Match::kConvolution};
  consumer.groups = graph.Int(node, "group", 1);
  consumer.rows = PositionsOf(graph.KnownShape(node.outputs[0]));
  return consumer;
}

// Reads a number as in C, whatever the program's locale; false where the text is no finite one.
bool ReadNumber(const std::string& text, double* number) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  stream >> std::noskipws >> *number;
  return !stream.fail() && stream.peek() == std::istringstream::traits_type::eof() && std::isfinite(*number);
}

}  // namespace

Choice Choice::Read(const OrtApi* api, const OrtSessionOptions* options) {
  const auto read = [&](const char* name) { return Option(api, options, name); };
  return Choice(read("kernel"), read("skip_zeros"), read("profile"), read("account"));
}

Choice::Choice(const std::string& kernel, const std::string& skip_zeros, const std::string& profile,
               std::string account)
    : account_(std::move(account)) {
  if (kernel == "always") {
    mode_ = kAlways;
  } else if (kernel == "never") {
    mode_ = kNever;
  } else if (!kernel.empty() && kernel != "auto") {
    throw std::invalid_argument("option ep.squeezeexecutionprovider.kernel is '" + kernel +
                                "'; give auto, always or never");
  }
  if (skip_zeros == "0") {
    skip_ = kNeverSkip;
  } else if (skip_zeros == "1") {
    skip_ = kSkip;
  } else if (!skip_zeros.empty() && skip_zeros != "auto") {
    throw std::invalid_argument("option ep.squeezeexecutionprovider.skip_zeros is '" + skip_zeros +
                                "'; give auto, 0 or 1");
  }
  ReadProfile(profile);
}

// Takes "name=number,..."; other names than ours are refused, those that are not there keep their guess.
void Choice::ReadProfile(const std::string& text) {
  profile_ = Guesses();
  std::istringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) {
    const size_t equals = item.find('=');
    const auto known = profile_.find(item.substr(0, equals));
    double value = 0;
    const bool is_number = equals != std::string::npos && ReadNumber(item.substr(equals + 1), &value);
    if (known == profile_.end() || !is_number) {
      throw std::invalid_argument("option ep.squeezeexecutionprovider.profile has a bad entry '" + item +
                                  "'");
    }
    known->second = value;
  }
}

double Choice::ZerosFor(Batch batch, bool is_cached) const {
  const double of[] = {profile_.at(is_cached ? "cached" : "vector"), profile_.at("few"), profile_.at("many")};
  return batch == kUnknown ? *std::max_element(of, of + 3) : of[batch];
}

Decision Choice::Decide(const Graph& graph, const Match& match) const {
  Weight weight;
  if (OpenWeight(graph, *match.decode, &weight) != OSQ_OK) return {Kernel::kStock, "it does not decode"};
  Consumer consumer{match.kind};
  if (match.kind == Match::kLinear) {
    consumer.rows = RowsOf(graph.KnownShape(match.input));
    consumer.is_cut = IsCut(graph, match.input);
  }
  if (match.kind != Match::kConvolution || mode_ == kAlways) return Decide(weight, consumer);
  consumer = ConvolutionOf(graph, *match.consumer);
  const Decision alone = Decide(weight, consumer);
  if (alone.kernel == Kernel::kStock) return alone;
  consumer.comes_from_dense = ComesFromDense(graph, match.input, kMostBetween);
  consumer.goes_to_dense = GoesToDense(graph, match.output, kMostBetween);
  return consumer.comes_from_dense || consumer.goes_to_dense ? Decide(weight, consumer) : alone;
}

// Whether a convolution stays with onnxruntime, whatever is next to it.
bool Choice::StaysDense(const Graph& graph, const GraphNode& node) const {
  const GraphNode* decode = node.inputs.size() < 2 ? nullptr : graph.Producer(node.inputs[1].name);
  if (decode == nullptr || !IsDecode(*decode)) return true;
  const std::string identity = IdentityOf(graph, *decode);
  const auto known = dense_.find(identity);
  if (known != dense_.end()) return known->second;
  Weight weight;
  const bool stays = OpenWeight(graph, *decode, &weight) != OSQ_OK ||
                     Decide(weight, ConvolutionOf(graph, node)).kernel == Kernel::kStock;
  return dense_[identity] = stays;
}

bool Choice::ComesFromDense(const Graph& graph, const GraphValue& value, int most) const {
  const GraphNode* node = graph.Producer(value.name);
  if (node == nullptr) return false;
  if (node->op_type == "Conv") return StaysDense(graph, *node);
  const auto comes = [&](const GraphValue& input) { return ComesFromDense(graph, input, most - 1); };
  return most > 0 && KeepsLayout(*node) && std::any_of(node->inputs.begin(), node->inputs.end(), comes);
}

bool Choice::GoesToDense(const Graph& graph, const GraphValue& value, int most) const {
  const std::vector<const GraphNode*> users = graph.Consumers(value);
  return std::any_of(users.begin(), users.end(), [&](const GraphNode* node) {
    if (node == nullptr) return false;
    if (node->op_type == "Conv") return node->inputs[0].name == value.name && StaysDense(graph, *node);
    return most > 0 && KeepsLayout(*node) && GoesToDense(graph, node->outputs[0], most - 1);
  });
}

Decision Choice::Decide(const Weight& weight, const Consumer& consumer) const {
  if (mode_ == kAlways) return Forced(weight, consumer);
  if (consumer.kind == Match::kGather) {
    if (weight.total() < kRowsWorthIt) return {Kernel::kStock, "too small to matter"};
    return {Kernel::kRows, "only the rows asked for are decoded"};
  }
  if (weight.total() < kWorthIt) return {Kernel::kStock, "too small to matter"};
  if (consumer.kind == Match::kConvolution) return DecideConvolution(weight, consumer);
  return DecideLinear(weight, consumer);
}

Decision Choice::Forced(const Weight& weight, const Consumer& consumer) const {
  const char* const reason = "as the option kernel asks for";
  if (consumer.kind == Match::kGather) return {Kernel::kRows, reason};
  if (consumer.kind == Match::kConvolution) return {Kernel::kSparse, reason};
  return weight.spec().is_shared() ? Decision{Kernel::kShared, reason} : Sparse(consumer, reason);
}

Decision Choice::Sparse(const Consumer& consumer, std::string reason) const {
  if (skip_ == kSkip) return {Kernel::kSkipping, std::move(reason)};
  const double from = profile_.at("skipping");
  const bool may_be_few = consumer.rows <= 3;  // or not known
  if (skip_ == kNeverSkip || !consumer.is_cut || !may_be_few || from > 1)
    return {Kernel::kSparse, std::move(reason)};
  return {Kernel::kSkipping, std::move(reason), from};
}

Decision Choice::DecideLinear(const Weight& weight, const Consumer& consumer) const {
  const int64_t rows = consumer.rows;
  const Batch batch = rows < 0 ? kUnknown : rows <= 3 ? kVector : rows < 48 ? kFew : kMany;
  const double zeros = ZerosOf(weight);
  if (zeros < 0) return {Kernel::kStock, "it does not decode"};
  const bool is_cached = weight.total() < kCached;
  const auto outputs = static_cast<double>(std::min(weight.shape()[0], weight.shape()[1]));  // or fewer
  const double layout = batch == kVector ? 0 : kPerColumn / outputs;
  const double least = ZerosFor(batch, is_cached);
  if (least <= 1 && zeros - layout >= least - kPerColumn / 1024) return Sparse(consumer, Percent(zeros));
  if (IsNm(weight, rows) && zeros >= 0.5) return {Kernel::kSparse, Percent(zeros) + " in a pattern"};
  if (weight.spec().is_shared() && rows >= 0 && batch != kMany) {
    const int bits = BitsOf(weight);
    const double most = profile_.at(rows > 4 ? "shared_few" : is_cached ? "shared_cached" : "shared_vector");
    if (bits <= most) return {Kernel::kShared, "indices of " + std::to_string(bits) + " bits"};
  }
  const char* const unknown = batch == kUnknown ? ", or may be: the batch is not known" : "";
  return {Kernel::kStock, Percent(zeros) + ": dense is faster" + unknown};
}

Decision Choice::DecideConvolution(const Weight& weight, const Consumer& consumer) const {
  if (consumer.rows >= 0 && consumer.rows < kPositionsWorthIt) {
    return {Kernel::kStock, "outputs of " + std::to_string(consumer.rows) + " positions: dense is faster"};
  }
  if (consumer.rows < 0 && weight.shape().size() == 3) {  // pictures mostly have positions enough
    return {Kernel::kStock, "the length of its outputs is not known, and may be too short"};
  }
  if (consumer.groups != 1) return {Kernel::kStock, "convolutions of several groups run faster dense"};
  const double zeros = ZerosOf(weight);
  if (zeros < 0) return {Kernel::kStock, "it does not decode"};
  const std::vector<int64_t>& shape = weight.shape();
  const bool is_pointwise = std::all_of(shape.begin() + 2, shape.end(), [](int64_t d) { return d == 1; });
  const double least = profile_.at(is_pointwise ? "pointwise" : "spatial");
  // What a column costs beside its products counts little where there are many output channels; and what the
  // outputs cost, where there are many columns.
  const auto outputs = static_cast<double>(shape[0]), columns = static_cast<double>(weight.total()) / outputs;
  const double layout = (kPerColumn + (consumer.comes_from_dense ? kFromDense : 0)) / outputs +
                        (consumer.goes_to_dense ? kToDense : 0) / columns;
  const bool is_unknown = consumer.rows < 0;
  const double more = is_unknown ? std::min(kForUnknownPositions, (1 - least) / 2) : 0;
  if (least > 1 || zeros - layout < least + more - kPerColumn / 256) {
    const char* const unknown = is_unknown ? ", or may be: the size of its outputs is not known" : "";
    return {Kernel::kStock, Percent(zeros) + ": dense is faster" + unknown};
  }
  return {Kernel::kSparse, Percent(zeros)};
}

}  // namespace osq

int osq_choose_kernel(const osq_node* node, const char* op_type, int64_t rows, int64_t groups,
                      const char* kernel, const char* profile, const char** found) {
  if (op_type == nullptr || kernel == nullptr || profile == nullptr || found == nullptr)
    return OSQ_BAD_ARGUMENT;
  const std::string name = op_type;
  const bool is_linear = name == "Gemm" || name == "MatMul", is_convolution = name == "Conv";
  *found = "";
  return osq::WithWeight(node, [&](const osq::Weight& weight) -> int {
    const size_t rank = weight.shape().size();
    const bool is_table = name == "Gather" && rank == 2 && weight.spec().is_shared();
    const bool fits = (is_linear && rank == 2) || (is_convolution && (rank == 3 || rank == 4)) || is_table;
    if (weight.type() != osq::kFloat || !fits) return OSQ_OK;
    try {
      const osq::Choice choice(kernel, "", profile);
      const osq::Match::Kind kind = is_linear        ? osq::Match::kLinear
                                    : is_convolution ? osq::Match::kConvolution
                                                     : osq::Match::kGather;
      if (!choice.never()) *found = osq::NameOf(choice.Decide(weight, {kind, rows, groups}).kernel);
    } catch (const std::invalid_argument&) {
      return OSQ_BAD_ARGUMENT;
    }
    return OSQ_OK;
  });
}
