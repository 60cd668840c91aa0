#include "ep_compute.h"

#include <stdexcept>

#include "ep_run.h"

namespace osq {

const char* NameOf(Kernel kernel) {
  switch (kernel) {
    case Kernel::kSparse:
      return "sparse";
    case Kernel::kSkipping:
      return "sparse, skipping zeros";
    case Kernel::kShared:
      return "shared";
    case Kernel::kRows:
      return "rows";
    case Kernel::kStock:
      break;
  }
  return "";
}

bool ReadsInPlace(const Graph& graph, const Match& match, Kernel kernel) {
  if (match.kind != Match::kGather || kernel != Kernel::kRows) return false;
  return OpenedWeight(graph, *match.decode).spec().values.levels == 0;  // no Huffman code
}

std::unique_ptr<Compute> MakeCompute(const Graph& graph, const Match& match, const Decision& decision) {
  if (match.kind == Match::kGather) return MakePackedGather(graph, match);
  if (match.kind == Match::kConvolution) return MakeSparseConvolution(graph, match);
  if (decision.kernel == Kernel::kShared) return MakeSharedLinear(graph, match);
  return MakeSparseLinear(graph, match, decision.kernel == Kernel::kSkipping ? decision.skip_from : 2);
}

}  // namespace osq
