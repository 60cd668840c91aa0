// MatMul and Gemm with sparse or shared weights.
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "codec.h"
#include "ep_run.h"
#include "nm.h"
#include "shared.h"
#include "sparse.h"

namespace osq {
namespace {

constexpr size_t kFew = 3;  // rows of x up to which they are taken one by one

// Rows of a matrix with leading dimensions.
size_t RowsOf(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end() - 1, size_t{1},
                         [](size_t n, int64_t d) { return n * static_cast<size_t>(d); });
}

// x [..., columns] times the transposed matrix.
class LinearCompute : public Compute {
 public:
  LinearCompute(const Graph& graph, const Match& match)
      : api_(graph.api()), epilogue_(EpilogueOf(graph, match)) {}

  void Run(OrtKernelContext* context, const Places& places) const override {
    const osq::Run run(api_, context, places.input);
    std::vector<int64_t> shape = run.shape();
    if (shape.empty() || shape.back() != static_cast<int64_t>(columns())) {
      throw std::runtime_error("the input's last dimension is not " + std::to_string(columns()));
    }
    const size_t batch = RowsOf(shape);
    shape.back() = static_cast<int64_t>(rows());
    float* const y = run.Output<float>(shape);
    Multiply(run.Input<float>(), batch, y, run.Threads());
  }

 protected:
  virtual size_t rows() const = 0;
  virtual size_t columns() const = 0;
  virtual void Multiply(const float* x, size_t batch, float* y, const Parallel& parallel) const = 0;

  const Epilogue& epilogue() const { return epilogue_; }

 private:
  const OrtApi* api_;
  Epilogue epilogue_;
};

class SparseLinearCompute : public LinearCompute {
 public:
  SparseLinearCompute(const Graph& graph, const Match& match, double skip_from)
      : LinearCompute(graph, match), skip_from_(skip_from) {
    const Weight weight = OpenedWeight(graph, *match.decode);
    const auto first = static_cast<size_t>(weight.shape()[0]),
               second = static_cast<size_t>(weight.shape()[1]);
    const std::vector<float> dense = DecodeFloats(weight);
    const DenseMatrix matrix = match.transposed ? DenseMatrix{dense.data(), first, second, second, 1}
                                                : DenseMatrix{dense.data(), second, first, 1, second};
    rows_ = matrix.rows;
    columns_ = matrix.columns;
    if (skip_from_ > 1 && PackNm(matrix, &nm_)) return;
    const std::vector<int64_t> shape = graph.KnownShape(match.input);
    const bool known =
        !shape.empty() && std::all_of(shape.begin(), shape.end() - 1, [](int64_t d) { return d >= 0; });
    const size_t batch = known ? RowsOf(shape) : 0;
    if (!known || batch > kFew) many_ = PackRows(matrix, {Use::kPanel, 1});
    if (known && batch > kFew) return;
    if (skip_from_ > 0) few_ = PackRows(matrix, {Use::kVector, 1});
    if (skip_from_ <= 1) zeros_ = PackRows(matrix, {Use::kVectorZeros, 1});
  }

 protected:
  size_t rows() const override { return rows_; }
  size_t columns() const override { return columns_; }
  void Multiply(const float* x, size_t batch, float* y, const Parallel& parallel) const override {
    if (nm_.rows > 0) return NmLinear(nm_, x, batch, epilogue(), y, parallel);
    if (many_.rows > 0 && (batch > kFew || few_.rows + zeros_.rows == 0)) {
      return SparseLinear(many_, x, batch, epilogue(), y, parallel);
    }
    for (size_t row = 0; row < batch;
         row += kFew) {  // more than kFew only where the graph's shapes are wrong
      const size_t rows = std::min(kFew, batch - row);
      const SparseRows& packed = Skips(x + row * columns_, rows * columns_) ? zeros_ : few_;
      SparseLinear(packed, x + row * columns_, rows, epilogue(), y + row * rows_, parallel);
    }
  }

 private:
  bool Skips(const float* x, size_t count) const {
    if (skip_from_ <= 0 || skip_from_ > 1) return skip_from_ <= 0;
    const auto zeros = static_cast<double>(std::count(x, x + count, 0.0f));
    return zeros >= skip_from_ * static_cast<double>(count);
  }

  double skip_from_;
  size_t rows_ = 0, columns_ = 0;
  NmRows nm_;  // for any number of rows of x, where the weight is N:M and no zeros are skipped
  SparseRows few_, zeros_,
      many_;  // else for some rows of x, for some with many zeros, for more; those that may be met
};

// The scale of each row or column of a matrix [first, second] as it lies; null where there is none.
struct Scales {
  std::vector<float> factors;
  bool is_first = false;

  Scales(const Weight& weight, size_t second) {
    const osq_scale scale = weight.Scale();
    if (scale.table == nullptr) return;
    std::vector<float> ones(scale.channels, 1.0f);
    factors.resize(scale.channels);
    const osq_scale each = {scale.table, scale.entries, scale.codes, 1, scale.channels, 1};
    Require(osq_rescale(ones.data(), ones.size(), &each, OSQ_FLOAT, factors.data()));
    is_first = scale.inner == second;
  }

  const float* of(bool first) const {
    return !factors.empty() && is_first == first ? factors.data() : nullptr;
  }
};

class SharedLinearCompute : public LinearCompute {
 public:
  SharedLinearCompute(const Graph& graph, const Match& match) : LinearCompute(graph, match) {
    const Weight weight = OpenedShared(graph, *match.decode);
    const auto first = static_cast<size_t>(weight.shape()[0]),
               second = static_cast<size_t>(weight.shape()[1]);
    std::vector<uint8_t> indices(weight.total());
    Require(weight.DecodeIndices(1, indices.data()));
    const Scales scales(weight, second);
    const Vector& codebook = weight.input("codebook");
    const bool t = match.transposed;
    Require(PackShared({indices.data(), t ? first : second, t ? second : first, t ? second : 1,
                        t ? 1 : second, codebook.floats(), codebook.count, scales.of(t), scales.of(!t)},
                       &matrix_));
  }

 protected:
  size_t rows() const override { return matrix_.rows; }
  size_t columns() const override { return matrix_.columns; }
  void Multiply(const float* x, size_t batch, float* y, const Parallel& parallel) const override {
    SharedLinear(matrix_, x, batch, epilogue(), y, parallel);
  }

 private:
  SharedRows matrix_;
};

}  // namespace

std::unique_ptr<Compute> MakeSparseLinear(const Graph& graph, const Match& match, double skip_from) {
  return std::make_unique<SparseLinearCompute>(graph, match, skip_from);
}

std::unique_ptr<Compute> MakeSharedLinear(const Graph& graph, const Match& match) {
  return std::make_unique<SharedLinearCompute>(graph, match);
}

}  // namespace osq
