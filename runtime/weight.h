// A packed weight: a node of the domain, read and checked as FORMAT.md says, and decoded.
#ifndef ONNXSQUEEZE_WEIGHT_H_
#define ONNXSQUEEZE_WEIGHT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codec.h"

namespace osq {

using Buffer = std::unique_ptr<uint8_t[]>;

// Element types, numbered as in ONNX.
enum ElementType { kFloat = 1, kUint8 = 2, kFloat16 = 10, kDouble = 11 };

// The kind of a stream: P5 has no levels and 5 bits, H8L2 has 8 levels and 2 bits.
struct StreamKind {
  int levels = 0;
  int bits = 0;
};

// An operator name (FORMAT 2), read.
struct Spec {
  enum Layout { kFill, kDense, kGaps, kNm };
  Layout layout = kFill;
  StreamKind positions, values;
  int raw_type = 0;  // the type of values that are stored without a codebook; 0: with one
  bool scaled = false, converted = false, tail = false;

  // Whether all elements are indices into a codebook: those of other layouts tell of something else.
  bool is_shared() const { return layout == kDense && raw_type == 0; }
};

// Whether `op_type` is a name of format version 1.
bool ParseName(const std::string& op_type, Spec* spec);

// Names of the node's inputs, in order.
std::vector<std::string> InputNames(const Spec& spec);

// An input of a node: a tensor of one dimension.
struct Vector {
  const void* data = nullptr;
  size_t count = 0;
  int type = 0;

  const uint8_t* bytes() const { return static_cast<const uint8_t*>(data); }
  const float* floats() const { return static_cast<const float*>(data); }
};

using Attributes = std::map<std::string, std::vector<int64_t>>;  // an int is a list of one

// Holds on to the inputs' memory, which must outlive it.
class Weight {
 public:
  // Reads and checks everything but the streams' payloads; returns a status.
  int Open(const std::string& op_type, Attributes attributes, const std::vector<Vector>& inputs);

  const Spec& spec() const { return spec_; }
  const std::vector<int64_t>& shape() const { return attributes_.at("shape"); }
  size_t total() const { return total_; }      // elements
  size_t entries() const { return entries_; }  // values that are stored
  int type() const;                            // of the decoded elements
  const Vector& input(const std::string& name) const { return inputs_.at(name); }

  // Elements that are zero, as far as the layout tells: those that are not stored, or at most those whose
  // code may mean zero.
  size_t ZerosByLayout() const;

  // Writes `total` elements of `type()` in row-major order; returns a status.
  int Decode(int threads, void* out) const;

  // Writes the position stream, or the value stream as codebook indices: `entries` bytes; returns a status.
  int DecodePositions(int threads, uint8_t* out) const;
  int DecodeIndices(int threads, uint8_t* out) const;

  osq_scale Scale() const;  // table is null where there is none

 private:
  int OpenInputs(const std::vector<Vector>& inputs);
  int OpenShape();
  int OpenScale();
  int OpenEntries();
  int OpenGroups();
  int OpenCodebook() const;
  const std::vector<int64_t>* Find(const std::string& name) const;
  int Stream(const std::string& prefix, StreamKind kind, int threads, uint8_t* out) const;
  int Values(int threads, Buffer* storage, const void** values) const;
  int Scatter(int threads, size_t item, void* out) const;
  int DecodeDense(int threads, void* out) const;
  void Ungroup(const uint8_t* rows, size_t item, uint8_t* out) const;

  Spec spec_;
  Attributes attributes_;
  std::map<std::string, Vector> inputs_;
  size_t total_ = 0, entries_ = 0;
  size_t outer_ = 1, channels_ = 1, inner_ = 1;  // of the scale
};

// Opens the weight of a node of the C boundary and hands it to `body`; returns a status.
int WithWeight(const osq_node* node, const std::function<int(const Weight&)>& body);

}  // namespace osq

#endif  // ONNXSQUEEZE_WEIGHT_H_
