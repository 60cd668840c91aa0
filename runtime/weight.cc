#include "weight.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "codec.h"
#include "pack.h"
#include "parallel.h"
#include "transpose.h"

namespace osq {
namespace {

constexpr size_t kMaxRank = 32;

size_t ItemSize(int type) { return type == kFloat16 ? 2 : type == kDouble ? 8 : 4; }

// Product of positive factors below kMaxElements; 0 where it is not below kMaxElements.
size_t Product(const std::vector<int64_t>& factors) {
  size_t product = 1;
  for (const int64_t factor : factors) {
    if (factor < 1 || static_cast<uint64_t>(factor) >= kMaxElements) return 0;
    product *= static_cast<size_t>(factor);
    if (product >= kMaxElements) return 0;
  }
  return product;
}

// Memory that is not touched before it is written: a corrupt node may ask for much.
Buffer Allocate(size_t bytes) { return Buffer(new uint8_t[bytes]); }

bool IsRight(const std::string& name, const Spec& spec, int type) {
  if (name == "codebook" || name == "scales") return type == kFloat;
  if (name == "values") return type == spec.raw_type;
  if (name == "value") return type == kFloat || type == kFloat16 || type == kDouble;
  return type == kUint8;
}

}  // namespace

int Weight::Open(const std::string& op_type, Attributes attributes, const std::vector<Vector>& inputs) {
  attributes_ = std::move(attributes);
  if (!ParseName(op_type, &spec_)) return OSQ_NAME;
  if (const int status = OpenInputs(inputs)) return status;
  if (const int status = OpenShape()) return status;
  if (spec_.layout == Spec::kFill) return input("value").count == 1 ? OSQ_OK : OSQ_FILL;
  if (const int status = OpenScale()) return status;
  if (const int status = OpenEntries()) return status;
  if (spec_.converted) {
    const std::vector<int64_t>* to = Find("to");
    if (to == nullptr || to->size() != 1) return OSQ_ATTRIBUTE;
    if (to->front() != kFloat16 && to->front() != kDouble) return OSQ_ATTRIBUTE;
  }
  return spec_.raw_type != 0 ? static_cast<int>(OSQ_OK) : OpenCodebook();
}

int Weight::type() const {
  if (spec_.layout == Spec::kFill) return input("value").type;
  if (spec_.raw_type != 0 && spec_.raw_type != kFloat) return spec_.raw_type;
  return spec_.converted ? static_cast<int>(Find("to")->front()) : static_cast<int>(kFloat);
}

const std::vector<int64_t>* Weight::Find(const std::string& name) const {
  const auto found = attributes_.find(name);
  return found == attributes_.end() ? nullptr : &found->second;
}

int Weight::OpenInputs(const std::vector<Vector>& inputs) {
  const std::vector<std::string> names = InputNames(spec_);
  if (inputs.size() != names.size()) return OSQ_INPUT;
  inputs_.clear();
  for (size_t i = 0; i < names.size(); ++i) {
    if (inputs[i].data == nullptr || !IsRight(names[i], spec_, inputs[i].type)) return OSQ_INPUT;
    inputs_[names[i]] = inputs[i];
  }
  return OSQ_OK;
}

int Weight::OpenShape() {
  const std::vector<int64_t>* shape = Find("shape");
  if (shape == nullptr || shape->empty() || shape->size() > kMaxRank) return OSQ_SHAPE;
  total_ = Product(*shape);
  return total_ > 0 ? OSQ_OK : OSQ_SHAPE;
}

int Weight::OpenScale() {
  if (!spec_.scaled) return OSQ_OK;
  const std::vector<int64_t>* wanted = Find("scale_shape");
  if (wanted == nullptr || wanted->size() != shape().size()) return OSQ_SCALE;
  const auto channels = static_cast<int64_t>(input("channels").count);
  if (input("scales").count < 1 || input("scales").count > 256) return OSQ_SCALE;
  size_t axis = wanted->size();
  for (size_t i = 0; i < wanted->size(); ++i) {
    if ((*wanted)[i] == 1) continue;
    if (axis != wanted->size()) return OSQ_SCALE;
    axis = i;
  }
  if (axis == wanted->size()) {  // one channel, on whichever axis has one element
    axis = static_cast<size_t>(std::find(shape().begin(), shape().end(), 1) - shape().begin());
    if (axis == wanted->size()) axis = 0;
  }
  if ((*wanted)[axis] != shape()[axis] || channels != shape()[axis]) return OSQ_SCALE;
  const auto multiply = [](size_t product, int64_t factor) { return product * static_cast<size_t>(factor); };
  outer_ = std::accumulate(shape().begin(), shape().begin() + axis, size_t{1}, multiply);
  channels_ = static_cast<size_t>(channels);
  inner_ = std::accumulate(shape().begin() + axis + 1, shape().end(), size_t{1}, multiply);
  return OSQ_OK;
}

int Weight::OpenEntries() {
  const auto* total = Find("total");
  const bool counted =
      total != nullptr && total->size() == 1 && total->front() == static_cast<int64_t>(total_);
  if (spec_.layout != Spec::kNm && !counted) return OSQ_TOTAL;
  if (spec_.layout == Spec::kDense) {
    entries_ = total_;
    if (entries_ > 8 * input("v").count) return OSQ_PLANE_LENGTH;
    return spec_.tail == (total_ % 8 != 0) ? OSQ_OK : OSQ_NAME;
  }
  const std::vector<int64_t>* entries = Find("entries");
  if (entries == nullptr || entries->size() != 1) return OSQ_ENTRIES;
  if (entries->front() < 1 || entries->front() > static_cast<int64_t>(total_)) return OSQ_ENTRIES;
  entries_ = static_cast<size_t>(entries->front());
  if (entries_ > 8 * input("p").count) return OSQ_PLANE_LENGTH;
  if (spec_.raw_type != 0 && input("values").count != entries_) return OSQ_INPUT;
  return spec_.layout == Spec::kNm ? OpenGroups() : static_cast<int>(OSQ_OK);
}

int Weight::OpenGroups() {
  const std::vector<int64_t>*groups = Find("groups"), *kept = Find("kept");
  const std::vector<int64_t>*moved = Find("moved"), *perm = Find("perm");
  if (groups == nullptr || kept == nullptr || moved == nullptr || perm == nullptr) return OSQ_GROUPS;
  if (groups->size() != 2 || kept->size() != 2) return OSQ_GROUPS;
  const int64_t rows = groups->front(), size = groups->back(), stored = kept->back();
  if (Product({rows, size}) != total_ || kept->front() != rows) return OSQ_GROUPS;
  if (stored < 1 || stored >= size || size > 256) return OSQ_GROUPS;
  if (static_cast<size_t>(rows * stored) != entries_) return OSQ_GROUPS;
  int bits = 1;
  while (size > int64_t{1} << bits) ++bits;
  if (spec_.positions.bits != bits) return OSQ_NAME;
  const size_t rank = shape().size();
  if (moved->size() != rank || perm->size() != rank) return OSQ_PERM;
  std::vector<bool> seen(rank, false);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t from = (*perm)[i];
    if (from < 0 || from >= static_cast<int64_t>(rank) || seen[from]) return OSQ_PERM;
    if ((*moved)[from] != shape()[i]) return OSQ_PERM;
    seen[from] = true;
  }
  return OSQ_OK;
}

// The codebook covers every index that a stream of its kind can hold, where a body relies on that.
int Weight::OpenCodebook() const {
  const StreamKind kind = spec_.values;
  size_t needed = 1;
  if (kind.levels == 0 && (kind.bits == 1 || kind.bits == 2 || kind.bits == 4))
    needed = size_t{1} << kind.bits;
  if (kind.levels > 0) {
    const std::vector<int64_t>* starts = Find("v_starts");
    if (starts == nullptr || starts->size() > 255) return OSQ_ATTRIBUTE;
    needed = (starts->size() + 1) << kind.bits;
  }
  const size_t count = input("codebook").count;
  return needed <= count && count <= 256 ? OSQ_OK : OSQ_CODEBOOK;
}

int Weight::Stream(const std::string& prefix, StreamKind kind, int threads, uint8_t* out) const {
  const std::vector<int64_t>* sizes = Find(prefix + "_sizes");
  const size_t segments = static_cast<size_t>(kind.levels + PlanesOf(kind.bits).count);
  if (sizes == nullptr || sizes->size() != segments) return OSQ_ATTRIBUTE;
  const Vector& payload = input(prefix);
  if (kind.levels == 0) {
    return osq_unpack(payload.bytes(), payload.count, sizes->data(), segments, kind.bits, entries_, out);
  }
  const std::vector<int64_t>*zeros = Find(prefix + "_zeros"), *leaves = Find(prefix + "_leaves");
  const std::vector<int64_t>* starts = Find(prefix + "_starts");
  if (zeros == nullptr || leaves == nullptr || starts == nullptr) return OSQ_ATTRIBUTE;
  const size_t levels = static_cast<size_t>(kind.levels);
  if (zeros->size() != levels || leaves->size() != levels) return OSQ_ATTRIBUTE;
  const osq_huffman stream{payload.bytes(), payload.count, sizes->data(),  segments,       zeros->data(),
                           leaves->data(),  levels,        starts->data(), starts->size(), kind.bits};
  return osq_huffman_decode(&stream, entries_, threads, out);
}

int Weight::DecodePositions(int threads, uint8_t* out) const {
  return Stream("p", spec_.positions, threads, out);
}

int Weight::DecodeIndices(int threads, uint8_t* out) const { return Stream("v", spec_.values, threads, out); }

// The stored values, as they are or looked up in the codebook.
int Weight::Values(int threads, Buffer* storage, const void** values) const {
  if (spec_.raw_type != 0) {
    *values = input("values").data;
    return OSQ_OK;
  }
  const Buffer indices = Allocate(entries_);
  if (const int status = DecodeIndices(threads, indices.get())) return status;
  *storage = Allocate(entries_ * sizeof(float));
  *values = storage->get();
  const Vector& codebook = input("codebook");
  return osq_lookup(indices.get(), entries_, codebook.floats(), codebook.count, nullptr, OSQ_FLOAT,
                    storage->get());
}

int Weight::Scatter(int threads, size_t item, void* out) const {
  const Buffer positions = Allocate(entries_);
  if (const int status = DecodePositions(threads, positions.get())) return status;
  Buffer storage;
  const void* values = nullptr;
  if (const int status = Values(threads, &storage, &values)) return status;
  if (spec_.layout == Spec::kGaps) {
    return osq_scatter_gaps(positions.get(), values, entries_, item, total_, out);
  }
  const size_t rows = static_cast<size_t>(Find("groups")->front());
  const size_t size = static_cast<size_t>(Find("groups")->back());
  const Buffer grouped = Allocate(total_ * item);
  const int status =
      osq_scatter_nm(positions.get(), values, rows, size, entries_ / rows, item, grouped.get());
  if (status == OSQ_OK) Ungroup(grouped.get(), item, static_cast<uint8_t*>(out));
  return status;
}

// Transposes from the shape `moved`: dimension i of the weight is dimension perm[i] of the rows.
void Weight::Ungroup(const uint8_t* rows, size_t item, uint8_t* out) const {
  const std::vector<int64_t>&moved = *Find("moved"), &perm = *Find("perm");
  std::vector<size_t> steps(perm.size());
  size_t step = 1;
  for (size_t i = perm.size(); i-- > 0; step *= static_cast<size_t>(moved[i])) steps[i] = step;
  std::vector<Axis> axes;
  for (size_t i = 0; i < perm.size(); ++i) {
    axes.push_back({static_cast<size_t>(shape()[i]), steps[static_cast<size_t>(perm[i])]});
  }
  Transpose(rows, item, axes, out);
}

osq_scale Weight::Scale() const {
  if (!spec_.scaled) return {};
  const Vector& table = input("scales");
  return {table.floats(), table.count, input("channels").bytes(), outer_, channels_, inner_};
}

int Weight::DecodeDense(int threads, void* out) const {
  const Buffer indices = Allocate(total_);
  if (const int status = DecodeIndices(threads, indices.get())) return status;
  const Vector& codebook = input("codebook");
  const osq_scale scale = Scale();
  return osq_lookup(indices.get(), total_, codebook.floats(), codebook.count, spec_.scaled ? &scale : nullptr,
                    type(), out);
}

int Weight::Decode(int threads, void* out) const {
  return Guard([&]() -> int {
    if (spec_.layout == Spec::kFill) {
      const Vector& value = input("value");
      const size_t item = ItemSize(value.type);
      for (size_t i = 0; i < total_; ++i)
        std::memcpy(static_cast<uint8_t*>(out) + i * item, value.data, item);
      return OSQ_OK;
    }
    if (spec_.layout == Spec::kDense) return DecodeDense(threads, out);
    if (!spec_.scaled && !spec_.converted) return Scatter(threads, ItemSize(type()), out);
    const std::unique_ptr<float[]> values(new float[total_]);
    if (const int status = Scatter(threads, sizeof(float), values.get())) return status;
    const osq_scale scale = Scale();
    return osq_rescale(values.get(), total_, spec_.scaled ? &scale : nullptr, type(), out);
  });
}

// A stream of codebook indices by Huffman tells how often each leaf of 2^bits indices occurs.
size_t Weight::ZerosByLayout() const {
  if (spec_.layout == Spec::kGaps || spec_.layout == Spec::kNm) return total_ - std::min(entries_, total_);
  if (spec_.layout != Spec::kDense || spec_.raw_type != 0) return total_;
  const Vector& codebook = input("codebook");
  const std::vector<int64_t>* starts = Find("v_starts");
  size_t zeros = 0, last = static_cast<size_t>(-1);
  for (size_t i = 0; i < codebook.count; ++i) {
    if (codebook.floats()[i] != 0) continue;
    if (spec_.values.levels == 0 || starts == nullptr) return total_;
    const size_t leaf = i >> spec_.values.bits;
    if (leaf == last || leaf > starts->size()) continue;
    last = leaf;
    const int64_t begin = leaf == 0 ? 0 : (*starts)[leaf - 1];
    const int64_t end = leaf == starts->size() ? static_cast<int64_t>(total_) : (*starts)[leaf];
    if (begin < 0 || end < begin || static_cast<uint64_t>(end) > total_) return total_;
    zeros += static_cast<size_t>(end - begin);
  }
  return std::min(zeros, total_);
}

int WithWeight(const osq_node* node, const std::function<int(const Weight&)>& body) {
  if (node == nullptr || node->op_type == nullptr) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    Attributes attributes;
    for (size_t i = 0; i < node->attribute_count; ++i) {
      const osq_attribute& attribute = node->attributes[i];
      attributes[attribute.name].assign(attribute.values, attribute.values + attribute.count);
    }
    std::vector<Vector> inputs;
    for (size_t i = 0; i < node->input_count; ++i) {
      inputs.push_back({node->inputs[i].data, node->inputs[i].count, node->inputs[i].type});
    }
    Weight weight;
    const int status = weight.Open(node->op_type, std::move(attributes), inputs);
    return status != OSQ_OK ? status : body(weight);
  });
}

}  // namespace osq

int osq_open_node(const osq_node* node, int* type, size_t* total) {
  if (type == nullptr || total == nullptr) return OSQ_BAD_ARGUMENT;
  return osq::WithWeight(node, [&](const osq::Weight& weight) {
    *type = weight.type();
    *total = weight.total();
    return OSQ_OK;
  });
}

int osq_decode_node(const osq_node* node, int threads, int type, size_t total, void* out) {
  if (out == nullptr) return OSQ_BAD_ARGUMENT;
  return osq::WithWeight(node, [&](const osq::Weight& weight) -> int {
    if (weight.total() != total || weight.type() != type) return OSQ_BAD_ARGUMENT;
    return weight.Decode(threads, out);
  });
}
