#include "ep_choice.h"

#include <algorithm>
#include <cstdio>
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
  char text[4096] = {};
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
  choice.account_ = Option(api, options, "account");
  return choice;
}

bool Choice::Pays(const Graph& graph, const Match& match, std::string* reason) const {
  Weight weight;
  *reason = "it does not decode";
  if (OpenWeight(graph, *match.decode, &weight) != OSQ_OK) return false;
  *reason = "as the option kernel asks for";
  if (mode_ == kAlways) return true;
  std::vector<float> values(weight.total());
  if (weight.Decode(1, values.data()) != OSQ_OK) return false;
  *reason = "convolutions of several groups run faster dense";
  if (match.kind == Match::kConvolution && graph.Int(*match.consumer, "group", 1) != 1) return false;
  const auto total = static_cast<double>(weight.total());
  const double zeros = static_cast<double>(std::count(values.begin(), values.end(), 0.0f)) / total;
  char text[80];
  const bool pays = zeros >= kSparseFrom;
  std::snprintf(text, sizeof(text), "%.1f %% zeros", 100 * zeros);
  *reason = text;
  if (!pays) *reason += ": dense is faster";
  return pays;
}

}  // namespace osq
