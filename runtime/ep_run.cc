#include "ep_run.h"

#include <stdexcept>

namespace osq {

Run::Run(const OrtApi* api, OrtKernelContext* context, size_t place) : api_(api), context_(context) {
  Check(ort::KernelContext_GetInput::Call(api, context, place, &input_));
  shape_ = ShapeOf(api, input_, &type_);
}

const float* Run::Other(size_t place, std::vector<int64_t>* shape) const {
  const OrtValue* other = nullptr;
  Check(ort::KernelContext_GetInput::Call(api_, context_, place, &other));
  int type = 0;
  *shape = ShapeOf(api_, other, &type);
  return static_cast<const float*>(Data(const_cast<OrtValue*>(other)));
}

Vector Run::Constant(size_t place) const {
  const OrtValue* other = nullptr;
  Check(ort::KernelContext_GetInput::Call(api_, context_, place, &other));
  std::vector<int64_t> shape;
  return ElementsOf(api_, other, &shape);
}

void* Run::Data(OrtValue* value) const {
  void* data = nullptr;
  Check(ort::GetTensorMutableData::Call(api_, value, &data));
  return data;
}

Parallel Run::Threads() const {
  return [this](size_t tasks, const std::function<void(size_t)>& body) {
    if (tasks == 1) return body(0);
    const auto call = [](void* function, size_t task) {
      (*static_cast<const std::function<void(size_t)>*>(function))(task);
    };
    Check(ort::KernelContext_ParallelFor::Call(api_, context_, call, tasks, 0,
                                               const_cast<std::function<void(size_t)>*>(&body)));
  };
}

void Require(int status) {
  if (status != OSQ_OK)
    throw std::runtime_error(std::string("a packed weight is corrupt: ") + osq_error(status));
}

Weight OpenedWeight(const Graph& graph, const GraphNode& decode) {
  Weight weight;
  Require(OpenWeight(graph, decode, &weight));
  return weight;
}

Weight OpenedShared(const Graph& graph, const GraphNode& decode) {
  Weight weight = OpenedWeight(graph, decode);
  if (weight.spec().is_shared() && weight.entries() == weight.total()) return weight;
  throw std::runtime_error("the weight '" + decode.outputs[0].name +
                           "' is not made of indices: " + decode.op_type);
}

std::vector<float> DecodeFloats(const Weight& weight) {
  std::vector<float> values(weight.total());
  Require(weight.Decode(1, values.data()));
  return values;
}

Epilogue EpilogueOf(const Graph& graph, const Match& match) {
  Epilogue epilogue{{}, match.activation, match.low, match.high};
  if (match.bias.name.empty()) return epilogue;
  if (const GraphNode* decode = graph.Producer(match.bias.name)) {
    epilogue.bias = DecodeFloats(OpenedWeight(graph, *decode));
  } else {
    std::vector<int64_t> shape;
    const Vector bias = graph.Constant(match.bias, &shape);
    epilogue.bias.assign(bias.floats(), bias.floats() + bias.count);
  }
  return epilogue;
}

}  // namespace osq
