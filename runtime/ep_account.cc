#include "ep_account.h"

#include <cstdio>
#include <fstream>

namespace osq {
namespace {

// A string of JSON: names hold any character.
std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') quoted += '\\';
    if (static_cast<unsigned char>(character) >= 0x20) {
      quoted += character;
    } else {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", character);
      quoted += code;
    }
  }
  return quoted + "\"";
}

}  // namespace

void Account::Leave(const Graph& graph, const GraphNode& decode, const std::string& reason) const {
  if (path_.empty()) return;
  const GraphNode* consumer = graph.OnlyConsumer(decode.outputs[0]);
  Add(decode.outputs[0].name, consumer == nullptr ? "" : consumer->op_type, "", "", reason);
}

void Account::Take(const Match& match, const std::string& node, const std::string& kernel,
                   const std::string& reason) const {
  if (path_.empty()) return;
  Add(match.decode->outputs[0].name, match.consumer->op_type, node, kernel, reason);
}

void Account::Add(const std::string& weight, const std::string& op_type, const std::string& node,
                  const std::string& kernel, const std::string& reason) const {
  const std::string line = "{\"weight\": " + Quoted(weight) + ", \"op_type\": " + Quoted(op_type) +
                           ", \"node\": " + Quoted(node) + ", \"kernel\": " + Quoted(kernel) +
                           ", \"reason\": " + Quoted(reason) + "}\n";
  std::ofstream(path_, std::ios::app) << line;
}

}  // namespace osq
