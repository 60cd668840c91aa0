// A graph as onnxruntime shows it, read into plain structures.
#ifndef ONNXSQUEEZE_EP_GRAPH_H_
#define ONNXSQUEEZE_EP_GRAPH_H_

#include <string>
#include <unordered_map>
#include <vector>

#include "ort_api.h"
#include "weight.h"

namespace osq {

// An error on its way to the C boundary.
struct OrtError {
  OrtStatus* status;
};

// Throws OrtError where there is a status.
inline void Check(OrtStatus* status) {
  if (status != nullptr) throw OrtError{status};
}

// Runs `body` and turns what it throws into a status.
template <typename Body>
OrtStatus* AsStatus(const OrtApi* api, Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const OrtError& error) {
    return error.status;
  } catch (const std::exception& error) {
    return CreateStatus(api, ORT_FAIL, error.what());
  } catch (...) {
    return CreateStatus(api, ORT_FAIL, "an internal error of onnxsqueeze");
  }
}

struct GraphValue {
  const OrtValueInfo* handle = nullptr;
  std::string name;  // "": an optional input that is not there
};

struct GraphNode {
  const OrtNode* handle;
  std::string name, domain, op_type;
  std::vector<GraphValue> inputs, outputs;
};

class Graph {
 public:
  virtual ~Graph() = default;

  const OrtApi* api() const { return api_; }
  const std::vector<GraphNode>& nodes() const { return nodes_; }

  // The node that makes a value; null where the graph is given it.
  const GraphNode* Producer(const std::string& value) const;

  // The one node that uses a value; null where several do, or none, or the graph gives it out.
  const GraphNode* OnlyConsumer(const GraphValue& value) const;

  // The nodes that use a value; null among them where something beyond the nodes does, too.
  std::vector<const GraphNode*> Consumers(const GraphValue& value) const;

  // The elements of a constant initializer, and its shape; data is null where the value is none.
  virtual Vector Constant(const GraphValue& value, std::vector<int64_t>* shape) const = 0;

  // What is known of a tensor's shape, -1 where a dimension is not; empty where nothing is.
  virtual std::vector<int64_t> KnownShape(const GraphValue& value) const = 0;

  // A node's attribute; `fallback` where it has none of that name.
  virtual int64_t Int(const GraphNode& node, const char* name, int64_t fallback) const = 0;
  virtual float Float(const GraphNode& node, const char* name, float fallback) const = 0;
  virtual std::vector<int64_t> Ints(const GraphNode& node, const char* name) const = 0;
  virtual std::string String(const GraphNode& node, const char* name, const char* fallback) const = 0;

 protected:
  explicit Graph(const OrtApi* api) : api_(api) {}

  // The next node, in topological order.
  void Add(GraphNode node);

  // Whether something beyond the nodes uses a value, too.
  virtual bool IsUsedOutside(const GraphValue& value) const = 0;

 private:
  const OrtApi* api_;
  std::vector<GraphNode> nodes_;
  std::unordered_map<std::string, size_t> producers_;
  std::unordered_multimap<std::string, size_t> consumers_;
};

// The graph of a session that asks its providers.
class SessionGraph : public Graph {
 public:
  SessionGraph(const OrtApi* api, const OrtGraph* graph);

  Vector Constant(const GraphValue& value, std::vector<int64_t>* shape) const override;
  std::vector<int64_t> KnownShape(const GraphValue& value) const override;
  int64_t Int(const GraphNode& node, const char* name, int64_t fallback) const override;
  float Float(const GraphNode& node, const char* name, float fallback) const override;
  std::vector<int64_t> Ints(const GraphNode& node, const char* name) const override;
  std::string String(const GraphNode& node, const char* name, const char* fallback) const override;

 protected:
  bool IsUsedOutside(const GraphValue& value) const override;

 private:
  std::vector<GraphValue> Values(const std::vector<const OrtValueInfo*>& handles) const;
  const OrtOpAttr* Attribute(const GraphNode& node, const char* name) const;
};

// Names of a node's inputs.
std::vector<std::string> InputNames(const OrtApi* api, const OrtNode* node);

// Shape of a tensor, and its element type.
std::vector<int64_t> ShapeOf(const OrtApi* api, const OrtValue* value, int* type);

// A tensor's elements, and its shape.
Vector ElementsOf(const OrtApi* api, const OrtValue* value, std::vector<int64_t>* shape);

}  // namespace osq

#endif  // ONNXSQUEEZE_EP_GRAPH_H_
