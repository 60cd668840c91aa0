// What the provider takes over: a packed weight, the one operator that uses it, and what may follow.
#ifndef ONNXSQUEEZE_EP_MATCH_H_
#define ONNXSQUEEZE_EP_MATCH_H_

#include <optional>
#include <string>
#include <vector>

#include "ep_graph.h"
#include "sparse.h"

namespace osq {

struct Match {
  enum Kind { kLinear, kConvolution, kGather };
  Kind kind;
  const GraphNode* decode;              // makes the weight
  const GraphNode* consumer;            // MatMul, Gemm, Conv or Gather
  std::vector<const GraphNode*> nodes;  // all that are taken over, in the graph's order
  GraphValue input, output;             // what still comes in, and what goes out
  GraphValue residual;                  // kConvolution: what is added before the activation; no name: nothing
  GraphValue bias;                      // a constant, or made by a decode node of `nodes`; no name: none
  bool transposed = false;              // kLinear: the weight is [outputs, inputs]
  Activation activation = Activation::kNone;
  float low = 0, high = 0;  // of kClip and kThreshold
};

// Where a Dense weight with a codebook has its packed indices, among the inputs of its decode node.
constexpr size_t kValueStream = 1;

// Reads the weight of a decode node; returns a status of codec.h.
int OpenWeight(const Graph& graph, const GraphNode& decode, Weight* weight);

// The match that begins at a decode node, if there is one.
std::optional<Match> FindMatch(const Graph& graph, const GraphNode& decode);

bool IsDecode(const GraphNode& node);

// Tells a packed weight from others of its name, which the bodies of an If may have: its layout and the
// lengths of its streams go in, too.
std::string IdentityOf(const Graph& graph, const GraphNode& decode);

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_MATCH_H_
