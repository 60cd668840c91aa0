#include "ep_graph.h"

namespace osq {
namespace {

// A tensor's type and shape, released at the end.
class TypeAndShape {
 public:
  TypeAndShape(const OrtApi* api, const OrtValue* value) : api_(api) {
    Check(ort::GetTensorTypeAndShape::Call(api, value, &info_));
  }
  ~TypeAndShape() { ReleaseTensorTypeAndShapeInfo(api_, info_); }
  TypeAndShape(const TypeAndShape&) = delete;

  int type() const {
    int type = 0;
    Check(ort::GetTensorElementType::Call(api_, info_, &type));
    return type;
  }

  std::vector<int64_t> shape() const {
    size_t rank = 0;
    Check(ort::GetDimensionsCount::Call(api_, info_, &rank));
    std::vector<int64_t> shape(rank);
    Check(ort::GetDimensions::Call(api_, info_, shape.data(), rank));
    return shape;
  }

 private:
  const OrtApi* api_;
  OrtTensorTypeAndShapeInfo* info_ = nullptr;
};

template <typename Call>
std::string Text(const OrtApi* api, const OrtNode* node) {
  const char* text = nullptr;
  Check(Call::Call(api, node, &text));
  return text == nullptr ? "" : text;
}

}  // namespace

std::vector<int64_t> ShapeOf(const OrtApi* api, const OrtValue* value, int* type) {
  const TypeAndShape info(api, value);
  *type = info.type();
  return info.shape();
}

Vector ElementsOf(const OrtApi* api, const OrtValue* value, std::vector<int64_t>* shape) {
  Vector vector{nullptr, 1, 0};
  *shape = ShapeOf(api, value, &vector.type);
  for (const int64_t dimension : *shape) vector.count *= static_cast<size_t>(dimension);
  void* data = nullptr;
  Check(ort::GetTensorMutableData::Call(api, const_cast<OrtValue*>(value), &data));
  vector.data = data;
  return vector;
}

std::vector<std::string> InputNames(const OrtApi* api, const OrtNode* node) {
  size_t size = 0;
  Check(ort::Node_GetNumInputs::Call(api, node, &size));
  std::vector<const OrtValueInfo*> values(size);
  Check(ort::Node_GetInputs::Call(api, node, values.data(), size));
  std::vector<std::string> names;
  for (const OrtValueInfo* value : values) {
    const char* name = nullptr;
    if (value != nullptr) Check(ort::GetValueInfoName::Call(api, value, &name));
    names.emplace_back(name == nullptr ? "" : name);
  }
  return names;
}

void Graph::Add(GraphNode node) {
  for (const GraphValue& input : node.inputs) consumers_.emplace(input.name, nodes_.size());
  for (const GraphValue& output : node.outputs) producers_[output.name] = nodes_.size();
  nodes_.push_back(std::move(node));
}

const GraphNode* Graph::Producer(const std::string& value) const {
  const auto found = producers_.find(value);
  return found == producers_.end() ? nullptr : &nodes_[found->second];
}

const GraphNode* Graph::OnlyConsumer(const GraphValue& value) const {
  const auto range = consumers_.equal_range(value.name);
  if (range.first == range.second || std::next(range.first) != range.second) return nullptr;
  return IsUsedOutside(value) ? nullptr : &nodes_[range.first->second];
}

std::vector<const GraphNode*> Graph::Consumers(const GraphValue& value) const {
  std::vector<const GraphNode*> found;
  const auto range = consumers_.equal_range(value.name);
  for (auto it = range.first; it != range.second; ++it) found.push_back(&nodes_[it->second]);
  if (IsUsedOutside(value)) found.push_back(nullptr);
  return found;
}

SessionGraph::SessionGraph(const OrtApi* api, const OrtGraph* graph) : Graph(api) {
  size_t count = 0;
  Check(ort::Graph_GetNumNodes::Call(api, graph, &count));
  std::vector<const OrtNode*> handles(count);
  Check(ort::Graph_GetNodes::Call(api, graph, handles.data(), count));
  for (const OrtNode* handle : handles) {
    GraphNode node{handle,
                   Text<ort::Node_GetName>(api, handle),
                   Text<ort::Node_GetDomain>(api, handle),
                   Text<ort::Node_GetOperatorType>(api, handle),
                   {},
                   {}};
    size_t size = 0;
    Check(ort::Node_GetNumInputs::Call(api, handle, &size));
    std::vector<const OrtValueInfo*> values(size);
    Check(ort::Node_GetInputs::Call(api, handle, values.data(), size));
    node.inputs = Values(values);
    Check(ort::Node_GetNumOutputs::Call(api, handle, &size));
    values.resize(size);
    Check(ort::Node_GetOutputs::Call(api, handle, values.data(), size));
    node.outputs = Values(values);
    Add(std::move(node));
  }
}

std::vector<GraphValue> SessionGraph::Values(const std::vector<const OrtValueInfo*>& handles) const {
  std::vector<GraphValue> values;
  for (const OrtValueInfo* handle : handles) {
    const char* name = nullptr;
    if (handle != nullptr) Check(ort::GetValueInfoName::Call(api(), handle, &name));
    values.push_back({handle, name == nullptr ? "" : name});
  }
  return values;
}

bool SessionGraph::IsUsedOutside(const GraphValue& value) const {
  bool given_out = false;
  Check(ort::ValueInfo_IsGraphOutput::Call(api(), value.handle, &given_out));
  size_t uses = 0;  // those inside of subgraphs count, too
  Check(ort::ValueInfo_GetValueNumConsumers::Call(api(), value.handle, &uses));
  return given_out || uses != 1;
}

Vector SessionGraph::Constant(const GraphValue& value, std::vector<int64_t>* shape) const {
  if (value.handle == nullptr) return {};
  bool constant = false;
  Check(ort::ValueInfo_IsConstantInitializer::Call(api(), value.handle, &constant));
  if (!constant) return {};
  const OrtValue* tensor = nullptr;
  Check(ort::ValueInfo_GetInitializerValue::Call(api(), value.handle, &tensor));
  if (tensor == nullptr) return {};
  return ElementsOf(api(), tensor, shape);
}

std::vector<int64_t> SessionGraph::KnownShape(const GraphValue& value) const {
  const OrtTypeInfo* type = nullptr;  // these two belong to the value
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  Check(ort::GetValueInfoTypeInfo::Call(api(), value.handle, &type));
  if (type != nullptr) Check(ort::CastTypeInfoToTensorInfo::Call(api(), type, &tensor));
  if (tensor == nullptr) return {};
  size_t rank = 0;
  Check(ort::GetDimensionsCount::Call(api(), tensor, &rank));
  std::vector<int64_t> shape(rank);
  Check(ort::GetDimensions::Call(api(), tensor, shape.data(), rank));
  return shape;
}

const OrtOpAttr* SessionGraph::Attribute(const GraphNode& node, const char* name) const {
  const OrtOpAttr* attribute = nullptr;
  OrtStatus* const status = ort::Node_GetAttributeByName::Call(api(), node.handle, name, &attribute);
  if (status != nullptr) {  // some releases call a missing attribute an error
    ReleaseStatus(api(), status);
    return nullptr;
  }
  return attribute;
}

int64_t SessionGraph::Int(const GraphNode& node, const char* name, int64_t fallback) const {
  size_t size = 0;
  if (const OrtOpAttr* attribute = Attribute(node, name)) {
    Check(ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_INT, &fallback, sizeof(fallback), &size));
  }
  return fallback;
}

float SessionGraph::Float(const GraphNode& node, const char* name, float fallback) const {
  size_t size = 0;
  if (const OrtOpAttr* attribute = Attribute(node, name)) {
    Check(ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_FLOAT, &fallback, sizeof(fallback), &size));
  }
  return fallback;
}

std::vector<int64_t> SessionGraph::Ints(const GraphNode& node, const char* name) const {
  const OrtOpAttr* attribute = Attribute(node, name);
  if (attribute == nullptr) return {};
  size_t size = 0;  // in bytes; asked for with a buffer that is too small, which is an error
  OrtStatus* const status = ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_INTS, nullptr, 0, &size);
  if (status != nullptr) ReleaseStatus(api(), status);
  std::vector<int64_t> values(size / sizeof(int64_t));
  if (!values.empty()) {
    Check(ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_INTS, values.data(), size, &size));
  }
  return values;
}

std::string SessionGraph::String(const GraphNode& node, const char* name, const char* fallback) const {
  const OrtOpAttr* attribute = Attribute(node, name);
  if (attribute == nullptr) return fallback;
  size_t size = 0;
  OrtStatus* const status = ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_STRING, nullptr, 0, &size);
  if (status != nullptr) ReleaseStatus(api(), status);
  std::string text(size, '\0');
  if (size > 0) Check(ort::ReadOpAttr::Call(api(), attribute, ORT_OP_ATTR_STRING, text.data(), size, &size));
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

}  // namespace osq
