// What a compiled node does when it runs.
#ifndef ONNXSQUEEZE_EP_COMPUTE_H_
#define ONNXSQUEEZE_EP_COMPUTE_H_

#include <memory>

#include "ep_match.h"

namespace osq {

// Where a match's inputs stand among those of the node that it became.
struct Places {
  size_t input, residual;
  size_t indices;  // kRows: of the packed indices, where they are read in place
};

// Immutable once made, so that any number of threads may run it.
class Compute {
 public:
  virtual ~Compute() = default;
  virtual void Run(OrtKernelContext* context, const Places& places) const = 0;
};

// What may run a match.
enum class Kernel {
  kStock,     // onnxruntime, dense
  kSparse,    // the weight's zeros are skipped
  kSkipping,  // those of the input, too, where it has few rows and many zeros
  kShared,    // indices stay packed, and are looked up in registers
  kRows,      // only the rows that are asked for are decoded
};
const char* NameOf(Kernel kernel);  // "" for onnxruntime's

struct Decision {
  Kernel kernel;
  std::string reason;    // in words
  double skip_from = 0;  // kSkipping: the share of zeros in an input from which on they are skipped
};

// Whether a run reads the packed indices where they lie, so that onnxruntime must keep them: nothing is
// copied, and what is external data stays in its file.
bool ReadsInPlace(const Graph& graph, const Match& match, Kernel kernel);

// Packs the weight of a match for a kernel that fits it. Throws where the weight is corrupt.
std::unique_ptr<Compute> MakeCompute(const Graph& graph, const Match& match, const Decision& decision);

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_COMPUTE_H_
