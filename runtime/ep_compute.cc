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
  const Kernel kernel = decision.kernel;
  const bool is_sparse = kernel == Kernel::kSparse || kernel == Kernel::kSkipping;
  if (match.kind == Match::kGather && kernel == Kernel::kRows) return MakePackedGather(graph, match);
  if (match.kind == Match::kConvolution && is_sparse) return MakeSparseConvolution(graph, match);
  if (match.kind == Match::kLinear && kernel == Kernel::kShared) return MakeSharedLinear(graph, match);
  if (match.kind == Match::kLinear && is_sparse)
    return MakeSparseLinear(graph, match, kernel == Kernel::kSkipping ? decision.skip_from : 2);
  throw std::runtime_error("the kernel '" + std::string(NameOf(kernel)) + "' does not run " +
                           match.consumer->op_type);
}

}  // namespace osq
