// Which matches the provider takes over: those that its kernels run faster than onnxruntime its own.
#ifndef ONNXSQUEEZE_EP_CHOICE_H_
#define ONNXSQUEEZE_EP_CHOICE_H_

#include "ep_match.h"

namespace osq {

class Choice {
 public:
  // Reads the session's options `ep.squeezeexecutionprovider.*`.
  static Choice Read(const OrtApi* api, const OrtSessionOptions* options);

  bool never() const { return mode_ == kNever; }
  bool Pays(const Graph& graph, const Match& match) const;

 private:
  enum Mode { kAuto, kAlways, kNever };
  Mode mode_ = kAuto;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_CHOICE_H_
