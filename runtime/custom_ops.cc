// Custom operators, for onnxruntime without plugin providers: one node is a packed weight, the operator that
// it feeds, and what follows.
//
// Operators are named after those that they stand for: Conv, Gather, Gemm and MatMul. Their inputs are the
// main one, the bias where attribute `has_bias` says so, and those of the packed weight (FORMAT.md 2).
// Attributes are those of the packed weight and of the operator that it feeds, and
//
//   weight      the operator that makes the weight, such as Gaps_P8_Raw32
//   kernel      what runs it: a name of ep_compute.cc
//   activation  Relu, ThresholdedRelu (with `threshold`), Clip (with `min` and `max`), HardSwish, Gelu, or
//   none
#include <stdexcept>

#include "ep_choice.h"
#include "ep_compute.h"

namespace osq {
namespace {

constexpr const char* kDomain = "ai.onnxsqueeze.kernels";
constexpr const char* kRegistered = "ep.squeezeexecutionprovider.operators";  // a session's option

// A node as the graph that it stands for, so that it is checked and compiled as those of the provider are.
class KernelGraph : public Graph {
 public:
  KernelGraph(const OrtApi* api, const OrtKernelInfo* info, const std::string& op_type)
      : Graph(api), info_(info) {
    size_t inputs = 0;
    Check(ort::KernelInfo_GetInputCount::Call(api, info, &inputs));
    const GraphValue bias{nullptr, Int("has_bias", 0) != 0 ? Name(1) : ""};
    const size_t first = bias.name.empty() ? 1 : 2;
    if (inputs <= first) throw std::runtime_error("inputs are missing");
    GraphNode decode{nullptr, "", "ai.onnxsqueeze", String("weight", ""), {}, {{nullptr, "w"}}};
    for (size_t i = first; i < inputs; ++i) decode.inputs.push_back({nullptr, Name(i)});
    Graph::Add(std::move(decode));
    GraphNode product{nullptr, "", "", op_type, {{nullptr, Name(0)}, {nullptr, "w"}}, {{nullptr, "h"}}};
    if (op_type == "Gather") std::swap(product.inputs[0], product.inputs[1]);
    if (op_type == "MatMul" && !bias.name.empty()) {
      Graph::Add(std::move(product));
      Graph::Add({nullptr, "", "", "Add", {{nullptr, "h"}, bias}, {{nullptr, "s"}}});
    } else {
      if (!bias.name.empty()) product.inputs.push_back(bias);
      Graph::Add(std::move(product));
    }
    const std::string activation = String("activation", ""), last = nodes().back().outputs[0].name;
    if (activation.empty()) return;
    const char* const domain = activation == "Gelu" ? "com.microsoft" : "";
    Graph::Add({nullptr, "", domain, activation, {{nullptr, last}}, {{nullptr, "y"}}});
  }

  Vector Constant(const GraphValue& value, std::vector<int64_t>* shape) const override {
    if (value.name.empty() || value.name[0] != '#' || value.name == Name(0)) return {};
    int constant = 0;
    const OrtValue* tensor = nullptr;
    const size_t place = std::stoul(value.name.substr(1));
    Check(ort::KernelInfoGetConstantInput_tensor::Call(api(), info_, place, &constant, &tensor));
    return constant == 0 || tensor == nullptr ? Vector{} : ElementsOf(api(), tensor, shape);
  }

  std::vector<int64_t> KnownShape(const GraphValue&) const override { return {}; }

  int64_t Int(const GraphNode&, const char* name, int64_t fallback) const override {
    return Int(name, fallback);
  }

  float Float(const GraphNode& node, const char* name, float fallback) const override {
    if (node.op_type == "ThresholdedRelu") name = "threshold";  // Gemm has an alpha, too
    Has(ort::KernelInfoGetAttribute_float::Call(api(), info_, name, &fallback));
    return fallback;
  }

  std::vector<int64_t> Ints(const GraphNode&, const char* name) const override {
    size_t count = 0;
    if (!Has(ort::KernelInfoGetAttributeArray_int64::Call(api(), info_, name, nullptr, &count))) return {};
    std::vector<int64_t> values(count);
    if (count > 0)
      Check(ort::KernelInfoGetAttributeArray_int64::Call(api(), info_, name, values.data(), &count));
    return values;
  }

  std::string String(const GraphNode&, const char* name, const char* fallback) const override {
    return String(name, fallback);
  }

  std::string String(const char* name, const char* fallback) const {
    size_t size = 0;
    if (!Has(ort::KernelInfoGetAttribute_string::Call(api(), info_, name, nullptr, &size))) return fallback;
    std::string text(size, '\0');
    if (size > 0) Check(ort::KernelInfoGetAttribute_string::Call(api(), info_, name, text.data(), &size));
    while (!text.empty() && text.back() == '\0') text.pop_back();
    return text;
  }

 protected:
  bool IsUsedOutside(const GraphValue&) const override { return false; }

 private:
  static std::string Name(size_t place) { return "#" + std::to_string(place); }

  // Whether there was such an attribute.
  bool Has(OrtStatus* status) const {
    if (status != nullptr) ReleaseStatus(api(), status);
    return status == nullptr;
  }

  int64_t Int(const char* name, int64_t fallback) const {
    Has(ort::KernelInfoGetAttribute_int64::Call(api(), info_, name, &fallback));
    return fallback;
  }

  const OrtKernelInfo* info_;
};

// What is named, where it fits the weight.
Kernel KernelOf(const Graph& graph, const Match& match, const std::string& name) {
  if (match.kind == Match::kGather) return Kernel::kRows;
  const Kernel forced = Choice("always", "", "").Decide(graph, match).kernel;
  for (const Kernel kernel : {Kernel::kSparse, Kernel::kSkipping, forced}) {
    if (name == NameOf(kernel)) return kernel;
  }
  throw std::runtime_error("there is no kernel '" + name + "' for the weight");
}

struct CustomKernel {
  const OrtApi* api;
  std::unique_ptr<Compute> compute;
  Places places;
};

struct CustomOp : OrtCustomOp {
  explicit CustomOp(const char* name) : OrtCustomOp{}, name(name) {
    version = kOrtCustomOpVersion;
    GetName = [](const OrtCustomOp* self) { return static_cast<const CustomOp*>(self)->name; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU's
    GetInputType = [](const OrtCustomOp*, size_t) { return 0; };                           // any
    GetInputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
    GetOutputType = [](const OrtCustomOp*, size_t) { return static_cast<int>(kFloat); };
    GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_VARIADIC; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 2; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp* self, const OrtApi* api, const OrtKernelInfo* info,
                        void** kernel) {
      return AsStatus(api,
                      [&] { *kernel = Make(api, info, static_cast<const CustomOp*>(self)->name).release(); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      auto* made = static_cast<CustomKernel*>(kernel);
      return AsStatus(made->api, [&] { made->compute->Run(context, made->places); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<CustomKernel*>(kernel); };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
  }

  static std::unique_ptr<CustomKernel> Make(const OrtApi* api, const OrtKernelInfo* info,
                                            const char* op_type) {
    const KernelGraph graph(api, info, op_type);
    const auto match = FindMatch(graph, graph.nodes()[0]);
    if (!match || match->nodes.size() != graph.nodes().size()) {
      throw std::runtime_error(std::string("a packed weight, or its bias, does not fit ") + op_type);
    }
    const Kernel kernel = KernelOf(graph, *match, graph.String("kernel", ""));
    const size_t first = match->bias.name.empty() ? 1 : 2;  // of the weight's inputs
    return std::make_unique<CustomKernel>(
        CustomKernel{api, MakeCompute(graph, *match, {kernel, ""}), {0, 0, first + kValueStream}});
  }

  const char* name;
};

OrtCustomOpDomain* MakeDomain(const OrtApi* api) {
  static const CustomOp ops[] = {CustomOp("Conv"), CustomOp("Gather"), CustomOp("Gemm"), CustomOp("MatMul")};
  OrtCustomOpDomain* domain = nullptr;
  Check(ort::CreateCustomOpDomain::Call(api, kDomain, &domain));
  for (const CustomOp& op : ops) Check(ort::CustomOpDomain_Add::Call(api, domain, &op));
  return domain;
}

}  // namespace
}  // namespace osq

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  const OrtApi* const api = base->GetApi(kOrtCustomOpVersion);
  if (api == nullptr) return nullptr;  // before 1.17: sessions will miss the operators, and say so
  return osq::AsStatus(api, [&] {
    static OrtCustomOpDomain* const domain =
        osq::MakeDomain(api);  // as long as the library, which is never unloaded
    int registered = 0;        // a second time would be an error
    osq::Check(osq::ort::HasSessionConfigEntry::Call(api, options, osq::kRegistered, &registered));
    if (registered != 0) return;
    osq::Check(osq::ort::AddCustomOpDomain::Call(api, options, domain));
    osq::Check(osq::ort::AddSessionConfigEntry::Call(api, options, osq::kRegistered, "1"));
  });
}
