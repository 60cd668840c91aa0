// Which kernel runs a match: the one that is faster than onnxruntime's own on this machine, if any is.
#ifndef ONNXSQUEEZE_EP_CHOICE_H_
#define ONNXSQUEEZE_EP_CHOICE_H_

#include <map>
#include <string>
#include <unordered_map>

#include "ep_compute.h"

namespace osq {

// What a weight feeds, as far as the choice depends on it.
struct Consumer {
  Match::Kind kind;
  int64_t rows = -1;   // of the input of a product, positions of an output of Conv; -1: not known
  int64_t groups = 1;  // of a convolution
  bool comes_from_dense = false, goes_to_dense = false;  // a convolution next to those of onnxruntime
  bool is_cut = false;  // a product's input comes from ThresholdedRelu: most of it is zero
};

class Choice {
 public:
  // Of options of a session, without their prefix; throws std::invalid_argument where one is none.
  Choice(const std::string& kernel, const std::string& skip_zeros, const std::string& profile,
         std::string account = "");

  // Reads the session's options `ep.squeezeexecutionprovider.*`.
  static Choice Read(const OrtApi* api, const OrtSessionOptions* options);

  bool never() const { return mode_ == kNever; }
  Decision Decide(const Graph& graph, const Match& match) const;
  Decision Decide(const Weight& weight, const Consumer& consumer) const;

  // The file that is told of all decisions; "" for none.
  const std::string& account() const { return account_; }

 private:
  enum Mode { kAuto, kAlways, kNever };
  enum Skip { kNeverSkip, kSkip, kSkipWhereCut };
  enum Batch { kVector, kFew, kMany, kUnknown };

  void ReadProfile(const std::string& text);
  Decision Forced(const Weight& weight, const Consumer& consumer) const;
  Decision DecideLinear(const Weight& weight, const Consumer& consumer) const;
  Decision DecideConvolution(const Weight& weight, const Consumer& consumer) const;
  bool StaysDense(const Graph& graph, const GraphNode& node) const;
  bool ComesFromDense(const Graph& graph, const GraphValue& value, int most) const;
  bool GoesToDense(const Graph& graph, const GraphValue& value, int most) const;
  double ZerosFor(Batch batch, bool is_cached) const;
  Decision Sparse(const Consumer& consumer, std::string reason) const;

  Mode mode_ = kAuto;
  Skip skip_ = kSkipWhereCut;
  std::string account_;
  std::map<std::string, double> profile_;                // names of runtime/profile.py
  mutable std::unordered_map<std::string, bool> dense_;  // convolutions by IdentityOf: StaysDense
};

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_CHOICE_H_
