// The plugin execution provider: what onnxruntime calls to find, make and use it.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "ep_account.h"
#include "ep_choice.h"
#include "ep_compute.h"

namespace osq {
namespace {

constexpr const char* kName = "SqueezeExecutionProvider";

// The release of onnxruntime that has loaded us.
struct Release {
  int major = 0, minor = 0, patch = 0;

  bool AtLeast(int other_minor, int other_patch) const {
    return minor > other_minor || (minor == other_minor && patch >= other_patch);
  }
};

Release ReleaseOf(const OrtApiBase* base) {
  Release release;
  std::sscanf(base->GetVersionString(), "%d.%d.%d", &release.major, &release.minor, &release.patch);
  return release;
}

// A compiled node: what onnxruntime calls, and the computation behind it.
struct ComputeInfo : OrtNodeComputeInfo {
  ComputeInfo(const OrtApi* api, std::unique_ptr<osq::Compute> compute, const Places& places)
      : OrtNodeComputeInfo{}, api(api), compute(std::move(compute)), places(places) {
    ort_version_supported = kOrtApiVersion;
    CreateState = [](OrtNodeComputeInfo* self, OrtNodeComputeContext*, void** state) -> OrtStatus* {
      *state = self;
      return nullptr;
    };
    Compute = [](OrtNodeComputeInfo* self, void*, OrtKernelContext* context) {
      auto* info = static_cast<ComputeInfo*>(self);
      return AsStatus(info->api, [&] { info->compute->Run(context, info->places); });
    };
    ReleaseState = [](OrtNodeComputeInfo*, void*) {};
  }

  const OrtApi* api;
  std::unique_ptr<osq::Compute> compute;
  Places places;
};

// The provider of one session.
struct Provider : OrtEp {
  Provider(const OrtApi* api, Release release, Choice choice)
      : OrtEp{}, api(api), release(release), choice(std::move(choice)), account(this->choice.account()) {
    ort_version_supported = kOrtApiVersion;
    GetName = [](const OrtEp*) { return kName; };
    GetCapability = [](OrtEp* self, const OrtGraph* graph, OrtEpGraphSupportInfo* info) {
      auto* provider = static_cast<Provider*>(self);
      return AsStatus(provider->api, [&] { provider->Claim(graph, info); });
    };
    Compile = [](OrtEp* self, const OrtGraph** graphs, const OrtNode** nodes, size_t count,
                 OrtNodeComputeInfo** infos, OrtNode**) {
      auto* provider = static_cast<Provider*>(self);
      return AsStatus(provider->api, [&] { provider->CompileAll(graphs, nodes, count, infos); });
    };
    ReleaseNodeComputeInfos = [](OrtEp*, OrtNodeComputeInfo** infos, size_t count) {
      for (size_t i = 0; i < count; ++i) delete static_cast<ComputeInfo*>(infos[i]);
    };
  }

  // Whether onnxruntime takes our claims in this graph: those in bodies of If and Loop only from 1.24.4 on.
  bool MayClaim(const OrtGraph* graph) const {
    if (release.AtLeast(24, 4)) return true;
    const OrtNode* parent = nullptr;
    Check(ort::Graph_GetParentNode::Call(api, graph, &parent));
    return parent == nullptr;
  }

  void Claim(const OrtGraph* handle, OrtEpGraphSupportInfo* info) {
    if (choice.never() || !MayClaim(handle)) return;
    const SessionGraph graph(api, handle);
    for (const GraphNode& node : graph.nodes()) {
      if (!IsDecode(node)) continue;
      const auto match = FindMatch(graph, node);
      const Decision decision = DecisionOn(graph, match);
      if (decision.kernel == Kernel::kStock) {
        account.Leave(graph, node, decision.reason);
        continue;
      }
      taken[KeyOf(graph, *match)] = decision;
      const OrtNodeFusionOptions options{kOrtApiVersion, !ReadsInPlace(graph, *match, decision.kernel)};
      std::vector<const OrtNode*> handles;
      for (const GraphNode* each : match->nodes) handles.push_back(each->handle);
      Check(AddNodesToFuse(GetEpApi(api), info, handles.data(), handles.size(), &options));
    }
  }

  // onnxruntime asks again when it has rewritten the graph: what was taken then stays taken.
  Decision DecisionOn(const Graph& graph, const std::optional<Match>& match) const {
    if (!match) return {Kernel::kStock, "no kernel for where it goes"};
    const auto known = taken.find(KeyOf(graph, *match));
    return known != taken.end() ? known->second : choice.Decide(graph, *match);
  }

  static std::string KeyOf(const Graph& graph, const Match& match) {
    return std::to_string(match.kind) + ' ' + IdentityOf(graph, *match.decode);
  }

  void CompileAll(const OrtGraph** graphs, const OrtNode** nodes, size_t count, OrtNodeComputeInfo** infos) {
    for (size_t i = 0; i < count; ++i) {
      const SessionGraph graph(api, graphs[i]);
      const auto match = FindMainMatch(graph);
      if (!match) throw std::runtime_error("a node that was taken over cannot be compiled");
      const Decision& decision = taken.at(KeyOf(graph, *match));
      infos[i] = new ComputeInfo(api, MakeCompute(graph, *match, decision),
                                 PlacesOf(nodes[i], graph, *match, decision.kernel));
      const char* name = "";
      Check(ort::Node_GetName::Call(api, nodes[i], &name));
      account.Take(*match, name, NameOf(decision.kernel), decision.reason);
    }
  }

  Places PlacesOf(const OrtNode* node, const Graph& graph, const Match& match, Kernel kernel) const {
    const std::vector<std::string> names = InputNames(api, node);
    const auto place = [&](const GraphValue& value) {
      const auto found = std::find(names.begin(), names.end(), value.name);
      if (found == names.end()) throw std::runtime_error("a node that was taken over has lost an input");
      return static_cast<size_t>(found - names.begin());
    };
    return {place(match.input), match.residual.name.empty() ? 0 : place(match.residual),
            ReadsInPlace(graph, match, kernel) ? place(match.decode->inputs[kValueStream]) : 0};
  }

  // The match that covers the graph: the other decode nodes in it make biases.
  static std::optional<Match> FindMainMatch(const Graph& graph) {
    for (const GraphNode& node : graph.nodes()) {
      if (!IsDecode(node)) continue;
      auto match = FindMatch(graph, node);
      if (match && match->nodes.size() == graph.nodes().size()) return match;
    }
    return std::nullopt;
  }

  const OrtApi* api;
  Release release;
  Choice choice;
  Account account;
  std::unordered_map<std::string, Decision> taken;  // by KeyOf
};

// The factory lives as long as the library, which is never unloaded (-z nodelete).
struct Factory : OrtEpFactory {
  Factory() : OrtEpFactory{} {
    ort_version_supported = kOrtApiVersion;
    GetName = [](const OrtEpFactory*) { return kName; };
    GetVendor = [](const OrtEpFactory*) { return "onnxsqueeze"; };
    GetVendorId = [](const OrtEpFactory*) -> uint32_t { return 0; };
    GetVersion = [](const OrtEpFactory*) { return "0.1.0"; };
    GetSupportedDevices = Devices;
    CreateEp = Create;
    ReleaseEp = [](OrtEpFactory*, OrtEp* provider) { delete static_cast<Provider*>(provider); };
    CreateAllocator = [](OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*,
                         OrtAllocator** allocator) -> OrtStatus* {
      *allocator = nullptr;
      return nullptr;
    };
    ReleaseAllocator = [](OrtEpFactory*, OrtAllocator*) {};
    CreateDataTransfer = [](OrtEpFactory*, OrtDataTransferImpl** transfer) -> OrtStatus* {
      *transfer = nullptr;  // weights and activations stay in the CPU's memory
      return nullptr;
    };
    IsStreamAware = [](const OrtEpFactory*) { return false; };
    CreateSyncStreamForDevice = [](OrtEpFactory*, const OrtMemoryDevice*, const OrtKeyValuePairs*,
                                   OrtSyncStreamImpl** stream) -> OrtStatus* {
      *stream = nullptr;
      return nullptr;
    };
  }

  static OrtStatus* Devices(OrtEpFactory* self, const OrtHardwareDevice* const* devices, size_t count,
                            OrtEpDevice** found, size_t room, size_t* number) {
    const OrtApi* api = static_cast<Factory*>(self)->api;
    *number = 0;
    for (size_t i = 0; i < count && *number < room; ++i) {
      if (HardwareDevice_Type(api, devices[i]) != OrtHardwareDeviceType_CPU) continue;
      if (OrtStatus* status = CreateEpDevice(GetEpApi(api), self, devices[i], &found[*number])) return status;
      ++*number;
    }
    return nullptr;
  }

  static OrtStatus* Create(OrtEpFactory* self, const OrtHardwareDevice* const*,
                           const OrtKeyValuePairs* const*, size_t, const OrtSessionOptions* options,
                           const OrtLogger*, OrtEp** provider) {
    const auto* factory = static_cast<Factory*>(self);
    return AsStatus(factory->api, [&] {
      *provider = new Provider(factory->api, factory->release, Choice::Read(factory->api, options));
    });
  }

  const OrtApi* api = nullptr;
  Release release;
};

}  // namespace
}  // namespace osq

extern "C" {

__attribute__((visibility("default"))) OrtStatus* CreateEpFactories(const char*, const OrtApiBase* base,
                                                                    const OrtLogger*,
                                                                    OrtEpFactory** factories, size_t room,
                                                                    size_t* count) {
  static osq::Factory factory;
  const osq::Release release = osq::ReleaseOf(base);
  const uint32_t version = std::min<uint32_t>(kOrtApiVersion, static_cast<uint32_t>(release.minor));
  const OrtApi* const api = base->GetApi(version);
  *count = 0;
  if (api == nullptr) return nullptr;
  if (!release.AtLeast(23, 1)) {
    return osq::CreateStatus(api, ORT_FAIL, "onnxsqueeze's provider needs onnxruntime 1.23.1 or later");
  }
  if (room < 1) return osq::CreateStatus(api, ORT_INVALID_ARGUMENT, "there is no room for a factory");
  factory.api = api;
  factory.release = release;
  factories[(*count)++] = &factory;
  return nullptr;
}

__attribute__((visibility("default"))) OrtStatus* ReleaseEpFactory(OrtEpFactory*) { return nullptr; }

}  // extern "C"
