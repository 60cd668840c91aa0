// Which matches the provider takes over: those that its kernels run faster than onnxruntime its own.
#ifndef ONNXSQUEEZE_EP_CHOICE_H_
#define ONNXSQUEEZE_EP_CHOICE_H_

#include <string>

#include "ep_match.h"

namespace osq {

class Choice {
 public:
  // Reads the session's options `ep.squeezeexecutionprovider.*`.
  static Choice Read(const OrtApi* api, const OrtSessionOptions* options);

  bool never() const { return mode_ == kNever; }

  // Whether a match is to be taken over; `reason` says why, or why not.
  bool Pays(const Graph& graph, const Match& match, std::string* reason) const;

  // The file that is told of all decisions; "" for none.
  const std::string& account() const { return account_; }

 private:
  enum Mode { kAuto, kAlways, kNever };
  Mode mode_ = kAuto;
  std::string account_;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_CHOICE_H_
