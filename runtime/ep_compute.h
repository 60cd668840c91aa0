// What a compiled node does when it runs.
#ifndef ONNXSQUEEZE_EP_COMPUTE_H_
#define ONNXSQUEEZE_EP_COMPUTE_H_

#include <memory>

#include "ep_match.h"

namespace osq {

// Immutable once made, so that any number of threads may run it.
class Compute {
 public:
  virtual ~Compute() = default;
  virtual void Run(OrtKernelContext* context) const = 0;
};

// Packs the weight of a match for its kernel. Throws OrtError where the weight is corrupt.
std::unique_ptr<Compute> MakeCompute(const Graph& graph, const Match& match);

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_COMPUTE_H_
