// What became of each packed weight, for those who ask: one line of JSON for each decision.
#ifndef ONNXSQUEEZE_EP_ACCOUNT_H_
#define ONNXSQUEEZE_EP_ACCOUNT_H_

#include <string>

#include "ep_match.h"

namespace osq {

class Account {
 public:
  // `path`: the file that lines are added to; "" for none.
  explicit Account(std::string path = "") : path_(std::move(path)) {}

  // A weight that onnxruntime decodes, and why.
  void Leave(const Graph& graph, const GraphNode& decode, const std::string& reason) const;

  // A match that was compiled; `node` is the name that onnxruntime gave to it.
  void Take(const Match& match, const std::string& node, const std::string& kernel,
            const std::string& reason) const;

 private:
  void Add(const std::string& weight, const std::string& op_type, const std::string& node,
           const std::string& kernel, const std::string& reason) const;

  std::string path_;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_ACCOUNT_H_
