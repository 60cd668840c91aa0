#include "ep_choice.h"

#include <algorithm>
#include <stdexcept>

namespace osq {
namespace {

// Share of zeros from which on the kernels beat onnxruntime's dense ones with a margin; measured with
// AVX-512.
constexpr double kSparseFrom = 0.88;

// The value of a session option; "" where it is not set.
std::string Option(const OrtApi* api, const OrtSessionOptions* options, const char* name) {
  const std::string key = std::string("ep.squeezeexecutionprovider.") + name;
  int there = 0;
  Check(ort::HasSessionConfigEntry::Call(api, options, key.c_str(), &there));
  if (there == 0) return "";
  char text[256] = {};
  size_t size = sizeof(text);
  Check(ort::GetSessionConfigEntry::Call(api, options, key.c_str(), text, &size));
  return text;
}

}  // namespace

Choice Choice::Read(const OrtApi* api, const OrtSessionOptions* options) {
  Choice choice;
  const std::string mode = Option(api, options, "kernel");
  if (mode == "always") {
    choice.mode_ = kAlways;
  } else if (mode == "never") {
    choice.mode_ = kNever;
  } else if (!mode.empty() && mode != "auto") {
    throw std::invalid_argument("option ep.squeezeexecutionprovider.kernel is '" + mode +
                                "'; give auto, always or never");
  }
  return choice;
}

bool Choice::Pays(const Graph& graph, const Match& match) const {
  Weight weight;
  if (OpenWeight(graph, *match.decode, &weight) != OSQ_OK) return false;
  if (mode_ == kAlways) return true;
  if (match.kind == Match::kConvolution && graph.Int(*match.consumer, "group", 1) != 1) return false;
  std::vector<float> values(weight.total());
  if (weight.Decode(1, values.data()) != OSQ_OK) return false;
  const auto zeros = static_cast<double>(std::count(values.begin(), values.end(), 0.0f));
  return zeros >= kSparseFrom * static_cast<double>(weight.total());
}

}  // namespace osq
