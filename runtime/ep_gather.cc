// Gather from packed embeddings: only the rows asked for are decoded.
#include <numeric>
#include <stdexcept>

#include "codec.h"
#include "ep_run.h"
#include "shared.h"

namespace osq {
namespace {

constexpr int kInt32 = 6, kInt64 = 7;  // element types, numbered as in ONNX

class GatherCompute : public Compute {
 public:
  GatherCompute(const Graph& graph, const Match& match) : api_(graph.api()) {
    const Weight weight = OpenedShared(graph, *match.decode);
    row_shape_.assign(weight.shape().begin() + 1, weight.shape().end());
    table_.rows = static_cast<size_t>(weight.shape()[0]);
    table_.columns = weight.total() / table_.rows;
    const Vector& codebook = weight.input("codebook");
    codebook_.assign(codebook.floats(), codebook.floats() + codebook.count);
    table_.codebook = codebook_.data();
    table_.entries = codebook_.size();
    OpenScale(weight);
    if (!ReadsInPlace(graph, match, Kernel::kRows)) {
      Pack(weight);
      return;
    }
    std::vector<int64_t> shape;
    const Vector stream = graph.Constant(match.decode->inputs[kValueStream], &shape);
    bits_ = weight.spec().values.bits;
    sizes_ = graph.Ints(*match.decode, "v_sizes");
    Require(Open(stream, &table_));
  }

  void Run(OrtKernelContext* context, const Places& places) const override {
    const osq::Run run(api_, context, places.input);
    std::vector<int64_t> shape = run.shape();
    const auto count = std::accumulate(shape.begin(), shape.end(), size_t{1},
                                       [](size_t n, int64_t d) { return n * static_cast<size_t>(d); });
    std::vector<int64_t> ids(count);
    if (run.type() == kInt64) std::copy_n(run.Input<int64_t>(), count, ids.begin());
    if (run.type() == kInt32) std::copy_n(run.Input<int32_t>(), count, ids.begin());
    shape.insert(shape.end(), row_shape_.begin(), row_shape_.end());
    float* const y = run.Output<float>(shape);
    if (count == 0) return;
    PackedTable table = table_;
    if (bits_ > 0) Require(Open(run.Constant(places.indices), &table));
    const int status = GatherRows(table, ids.data(), count, y, run.Threads());
    if (status == OSQ_POSITION) throw std::runtime_error("an index of Gather is out of range");
    Require(status);
  }

 private:
  void OpenScale(const Weight& weight) {
    const osq_scale scale = weight.Scale();
    if (scale.table == nullptr) return;
    const std::vector<float> ones(scale.channels, 1.0f);
    factors_.resize(scale.channels);
    const osq_scale each = {scale.table, scale.entries, scale.codes, 1, scale.channels, 1};
    Require(osq_rescale(ones.data(), ones.size(), &each, OSQ_FLOAT, factors_.data()));
    if (scale.inner == table_.columns) {
      table_.row_scale = factors_.data();
      return;
    }
    std::vector<float> row(table_.columns);
    for (size_t c = 0; c < row.size(); ++c) row[c] = factors_[c / scale.inner % scale.channels];
    factors_ = std::move(row);
    table_.column_scale = factors_.data();
  }

  // Finds the indices in the stream as it lies in the model.
  int Open(const Vector& stream, PackedTable* table) const {
    if (stream.data == nullptr || stream.type != kUint8) return OSQ_INPUT;
    if (sizes_.size() != static_cast<size_t>(PlanesOf(bits_).count)) return OSQ_SEGMENT_COUNT;
    if (const int status = CheckSegments(sizes_.data(), sizes_.size(), stream.count)) return status;
    return table->indices.Open(stream.bytes(), sizes_.data(), bits_, table->rows * table->columns);
  }

  // Keeps the indices packed, in planes; onnxruntime frees its own copy.
  void Pack(const Weight& weight) {
    std::vector<uint8_t> indices(weight.total());
    Require(weight.DecodeIndices(1, indices.data()));
    int bits = 1;
    while (size_t{1} << bits < codebook_.size()) ++bits;
    const Planes planes = PlanesOf(bits);
    const auto blocks = (indices.size() + 7) / 8;
    std::vector<int64_t> sizes;
    for (int i = 0; i < planes.count; ++i) {
      sizes.push_back(planes.widths[i] * static_cast<int64_t>(blocks));
    }
    payload_.resize(blocks * static_cast<size_t>(bits));
    Require(osq_pack(indices.data(), indices.size(), bits, payload_.data(), payload_.size()));
    Require(table_.indices.Open(payload_.data(), sizes.data(), bits, indices.size()));
  }

  const OrtApi* api_;
  PackedTable table_;
  std::vector<int64_t> row_shape_;
  std::vector<float> codebook_, factors_;
  std::vector<uint8_t> payload_;
  int bits_ = 0;  // of indices that are read in place
  std::vector<int64_t> sizes_;
};

}  // namespace

std::unique_ptr<Compute> MakePackedGather(const Graph& graph, const Match& match) {
  return std::make_unique<GatherCompute>(graph, match);
}

}  // namespace osq
