// The part of onnxruntime's C ABI that the provider uses, under the official names.
//
// No package index ships onnxruntime's headers. OrtApi is a table of functions to which releases only append:
// an entry keeps its place, which is what the numbers below are. Structures that a provider fills in begin
// with the version that they are written for.
#ifndef ONNXSQUEEZE_ORT_API_H_
#define ONNXSQUEEZE_ORT_API_H_

#include <cstddef>
#include <cstdint>

extern "C" {

constexpr uint32_t kOrtApiVersion = 23;  // the oldest with plugin providers that work: onnxruntime 1.23.1

struct OrtStatus;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtSessionOptions;
struct OrtLogger;
struct OrtGraph;
struct OrtNode;
struct OrtValueInfo;
struct OrtTypeInfo;
struct OrtOpAttr;
struct OrtKernelContext;
struct OrtHardwareDevice;
struct OrtKeyValuePairs;
struct OrtEpDevice;
struct OrtEpGraphSupportInfo;
struct OrtNodeComputeContext;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtDataTransferImpl;
struct OrtSyncStreamImpl;
struct OrtMemoryDevice;
struct OrtRunOptions;
struct OrtEp;
struct OrtEpFactory;
struct OrtKernelInfo;
struct OrtCustomOpDomain;
struct OrtShapeInferContext;

struct OrtApi {
  void* entries[1];  // as many as the version has
};

struct OrtEpApi {
  void* entries[1];
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

enum OrtErrorCode { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2, ORT_INVALID_GRAPH = 10 };
enum OrtHardwareDeviceType { OrtHardwareDeviceType_CPU = 0 };
enum OrtOpAttrType {
  ORT_OP_ATTR_INT = 1,
  ORT_OP_ATTR_INTS = 2,
  ORT_OP_ATTR_FLOAT = 3,
  ORT_OP_ATTR_STRING = 5
};

enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0, INPUT_OUTPUT_VARIADIC = 2 };

constexpr uint32_t kOrtCustomOpVersion = 17;  // the oldest with KernelContext_ParallelFor: onnxruntime 1.17

// An operator of a library of custom operators, as far as version 17 goes.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t place);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t place);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t place);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t place);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t place);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

struct OrtNodeFusionOptions {
  uint32_t ort_version_supported;
  bool drop_constant_initializers;
};

struct OrtNodeComputeInfo {
  uint32_t ort_version_supported;
  OrtStatus* (*CreateState)(OrtNodeComputeInfo*, OrtNodeComputeContext*, void** state);
  OrtStatus* (*Compute)(OrtNodeComputeInfo*, void* state, OrtKernelContext*);
  void (*ReleaseState)(OrtNodeComputeInfo*, void* state);
};

struct OrtEp {
  uint32_t ort_version_supported;
  const char* (*GetName)(const OrtEp*);
  OrtStatus* (*GetCapability)(OrtEp*, const OrtGraph*, OrtEpGraphSupportInfo*);
  OrtStatus* (*Compile)(OrtEp*, const OrtGraph** graphs, const OrtNode** fused_nodes, size_t count,
                        OrtNodeComputeInfo** infos, OrtNode** ep_context_nodes);
  void (*ReleaseNodeComputeInfos)(OrtEp*, OrtNodeComputeInfo** infos, size_t count);
  OrtStatus* (*GetPreferredDataLayout)(OrtEp*, int* layout);
  OrtStatus* (*ShouldConvertDataLayoutForOp)(OrtEp*, const char* domain, const char* op_type, int layout,
                                             int* should_convert);
  OrtStatus* (*SetDynamicOptions)(OrtEp*, const char* const* keys, const char* const* values, size_t count);
  OrtStatus* (*OnRunStart)(OrtEp*, const OrtRunOptions*);
  OrtStatus* (*OnRunEnd)(OrtEp*, const OrtRunOptions*, bool sync_stream);
  OrtStatus* (*CreateAllocator)(OrtEp*, const OrtMemoryInfo*, OrtAllocator**);
  OrtStatus* (*CreateSyncStreamForDevice)(OrtEp*, const OrtMemoryDevice*, OrtSyncStreamImpl**);
  const char* (*GetCompiledModelCompatibilityInfo)(OrtEp*, const OrtGraph*);
};

struct OrtEpFactory {
  uint32_t ort_version_supported;
  const char* (*GetName)(const OrtEpFactory*);
  const char* (*GetVendor)(const OrtEpFactory*);
  OrtStatus* (*GetSupportedDevices)(OrtEpFactory*, const OrtHardwareDevice* const* devices, size_t count,
                                    OrtEpDevice** ep_devices, size_t max_ep_devices, size_t* num_ep_devices);
  OrtStatus* (*CreateEp)(OrtEpFactory*, const OrtHardwareDevice* const* devices,
                         const OrtKeyValuePairs* const* metadata, size_t count, const OrtSessionOptions*,
                         const OrtLogger*, OrtEp**);
  void (*ReleaseEp)(OrtEpFactory*, OrtEp*);
  uint32_t (*GetVendorId)(const OrtEpFactory*);
  const char* (*GetVersion)(const OrtEpFactory*);
  OrtStatus* (*ValidateCompiledModelCompatibilityInfo)(OrtEpFactory*, const OrtHardwareDevice* const* devices,
                                                       size_t count, const char* info, int* compatibility);
  OrtStatus* (*CreateAllocator)(OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*, OrtAllocator**);
  void (*ReleaseAllocator)(OrtEpFactory*, OrtAllocator*);
  OrtStatus* (*CreateDataTransfer)(OrtEpFactory*, OrtDataTransferImpl**);
  bool (*IsStreamAware)(const OrtEpFactory*);
  OrtStatus* (*CreateSyncStreamForDevice)(OrtEpFactory*, const OrtMemoryDevice*, const OrtKeyValuePairs*,
                                          OrtSyncStreamImpl**);
};

}  // extern "C"

namespace osq {

// Place and signature of an entry.
template <size_t kPlace, typename... Arguments>
struct Entry {
  using Function = OrtStatus* (*)(Arguments...);

  static OrtStatus* Call(const OrtApi* api, Arguments... arguments) {
    return reinterpret_cast<Function>(api->entries[kPlace])(arguments...);
  }
};

namespace ort {

using CreateCustomOpDomain = Entry<26, const char*, OrtCustomOpDomain**>;
using CustomOpDomain_Add = Entry<27, OrtCustomOpDomain*, const OrtCustomOp*>;
using AddCustomOpDomain = Entry<28, OrtSessionOptions*, OrtCustomOpDomain*>;
using GetTensorMutableData = Entry<51, OrtValue*, void**>;
using CastTypeInfoToTensorInfo = Entry<55, const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**>;
using GetTensorElementType = Entry<60, const OrtTensorTypeAndShapeInfo*, int*>;
using GetDimensionsCount = Entry<61, const OrtTensorTypeAndShapeInfo*, size_t*>;
using GetDimensions = Entry<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t>;
using GetTensorTypeAndShape = Entry<65, const OrtValue*, OrtTensorTypeAndShapeInfo**>;
using KernelInfoGetAttribute_float = Entry<85, const OrtKernelInfo*, const char*, float*>;
using KernelInfoGetAttribute_int64 = Entry<86, const OrtKernelInfo*, const char*, int64_t*>;
using KernelInfoGetAttribute_string = Entry<87, const OrtKernelInfo*, const char*, char*, size_t*>;
using KernelContext_GetInput = Entry<90, const OrtKernelContext*, size_t, const OrtValue**>;
using KernelContext_GetOutput = Entry<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using KernelInfoGetAttributeArray_int64 = Entry<163, const OrtKernelInfo*, const char*, int64_t*, size_t*>;
using KernelInfo_GetInputCount = Entry<230, const OrtKernelInfo*, size_t*>;
using AddSessionConfigEntry = Entry<130, OrtSessionOptions*, const char*, const char*>;
using HasSessionConfigEntry = Entry<237, const OrtSessionOptions*, const char*, int*>;
using GetSessionConfigEntry = Entry<238, const OrtSessionOptions*, const char*, char*, size_t*>;
using KernelInfoGetConstantInput_tensor = Entry<249, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
using ReadOpAttr = Entry<272, const OrtOpAttr*, OrtOpAttrType, void*, size_t, size_t*>;
using KernelContext_ParallelFor =
    Entry<274, const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*>;
using GetValueInfoName = Entry<289, const OrtValueInfo*, const char**>;
using GetValueInfoTypeInfo = Entry<290, const OrtValueInfo*, const OrtTypeInfo**>;
using ValueInfo_GetValueNumConsumers = Entry<324, const OrtValueInfo*, size_t*>;
using ValueInfo_GetInitializerValue = Entry<326, const OrtValueInfo*, const OrtValue**>;
using ValueInfo_IsGraphOutput = Entry<330, const OrtValueInfo*, bool*>;
using ValueInfo_IsConstantInitializer = Entry<331, const OrtValueInfo*, bool*>;
using Graph_GetNumNodes = Entry<344, const OrtGraph*, size_t*>;
using Graph_GetNodes = Entry<345, const OrtGraph*, const OrtNode**, size_t>;
using Graph_GetParentNode = Entry<346, const OrtGraph*, const OrtNode**>;
using Node_GetName = Entry<349, const OrtNode*, const char**>;
using Node_GetOperatorType = Entry<350, const OrtNode*, const char**>;
using Node_GetDomain = Entry<351, const OrtNode*, const char**>;
using Node_GetNumInputs = Entry<353, const OrtNode*, size_t*>;
using Node_GetInputs = Entry<354, const OrtNode*, const OrtValueInfo**, size_t>;
using Node_GetNumOutputs = Entry<355, const OrtNode*, size_t*>;
using Node_GetOutputs = Entry<356, const OrtNode*, const OrtValueInfo**, size_t>;
using Node_GetAttributeByName = Entry<361, const OrtNode*, const char*, const OrtOpAttr**>;

}  // namespace ort

// Entries that return no status.
inline OrtStatus* CreateStatus(const OrtApi* api, OrtErrorCode code, const char* message) {
  return reinterpret_cast<OrtStatus* (*)(OrtErrorCode, const char*)>(api->entries[0])(code, message);
}
inline void ReleaseStatus(const OrtApi* api, OrtStatus* status) {
  reinterpret_cast<void (*)(OrtStatus*)>(api->entries[93])(status);
}
inline void ReleaseTensorTypeAndShapeInfo(const OrtApi* api, OrtTensorTypeAndShapeInfo* info) {
  reinterpret_cast<void (*)(OrtTensorTypeAndShapeInfo*)>(api->entries[99])(info);
}
inline OrtHardwareDeviceType HardwareDevice_Type(const OrtApi* api, const OrtHardwareDevice* device) {
  using Function = OrtHardwareDeviceType (*)(const OrtHardwareDevice*);
  return reinterpret_cast<Function>(api->entries[307])(device);
}
inline const OrtEpApi* GetEpApi(const OrtApi* api) {
  return reinterpret_cast<const OrtEpApi* (*)()>(api->entries[317])();
}

// Entries of OrtEpApi.
inline OrtStatus* CreateEpDevice(const OrtEpApi* api, OrtEpFactory* factory, const OrtHardwareDevice* device,
                                 OrtEpDevice** ep_device) {
  using Function = OrtStatus* (*)(OrtEpFactory*, const OrtHardwareDevice*, const OrtKeyValuePairs*,
                                  const OrtKeyValuePairs*, OrtEpDevice**);
  return reinterpret_cast<Function>(api->entries[0])(factory, device, nullptr, nullptr, ep_device);
}
inline OrtStatus* AddNodesToFuse(const OrtEpApi* api, OrtEpGraphSupportInfo* info,
                                 const OrtNode* const* nodes, size_t count,
                                 const OrtNodeFusionOptions* options) {
  using Function =
      OrtStatus* (*)(OrtEpGraphSupportInfo*, const OrtNode* const*, size_t, const OrtNodeFusionOptions*);
  return reinterpret_cast<Function>(api->entries[2])(info, nodes, count, options);
}
inline const char* NodeComputeContext_NodeName(const OrtEpApi* api, const OrtNodeComputeContext* context) {
  return reinterpret_cast<const char* (*)(const OrtNodeComputeContext*)>(api->entries[4])(context);
}

}  // namespace osq

#endif  // ONNXSQUEEZE_ORT_API_H_
