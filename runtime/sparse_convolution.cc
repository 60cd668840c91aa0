// Convolutions with sparse weights.
#include <algorithm>
#include <limits>
#include <stdexcept>

#include "convolution_layout.h"

namespace osq {
namespace {

// An image laid out, and the matrix that meets it.
class Convolver {
 public:
  Convolver(const SparseRows& matrix, const Convolution& c, const Layout& layout, const Epilogue& epilogue)
      : matrix_(matrix),
        c_(c),
        layout_(layout),
        grid_(c, layout.width(), kernels_.width),
        epilogue_(epilogue),
        table_(layout.Table()) {
    const Activation activation = epilogue.activation;
    last_.is_bound = activation == Activation::kRelu || activation == Activation::kClip;
    last_.low = activation == Activation::kRelu ? 0 : epilogue.low;
    last_.high = activation == Activation::kRelu ? std::numeric_limits<float>::infinity() : epilogue.high;
  }

  // `size`: floats from `image` on that may be read.
  void Run(const float* image, size_t size, const float* residual, float* y, const Parallel& parallel) const {
    const size_t width = kernels_.width, total = grid_.positions(), vectors = Ceil(total, width);
    const size_t panels = Ceil(vectors, matrix_.panels.vectors), chunks = matrix_.panels.chunks.size();
    const size_t together = c_.groups == 1 && panels >= kPanelsEnough ? kTogether : 1;
    const size_t parts = Ceil(chunks, together);
    parallel(panels * parts, [&](size_t task) {
      const size_t part = task % parts, begin = vectors * (task / parts) / panels;
      const size_t end = vectors * (task / parts + 1) / panels, first = begin * width;
      const Panel panel{first, std::min(end * width, total) - first, end - begin};
      RunChunks(part * together, std::min(chunks, (part + 1) * together), panel, {image, size}, residual, y);
    });
  }

 private:
  static constexpr size_t kPanelsEnough = 8;  // for all threads to have work: then inputs are collected once
  static constexpr size_t kTogether = kMostRows / kConvolutionShape.rows;

  struct Panel {
    size_t first, n, vectors;  // positions, and how many vectors they make
  };
  struct Image {
    const float* values;
    size_t size;  // floats that may be read
  };

  // Chunks `begin` to `end`, of one group, for a panel.
  void RunChunks(size_t begin, size_t end, const Panel& panel, Image image, const float* residual,
                 float* y) const {
    alignas(64) float tile[kMostSums];
    alignas(64) float inputs[kMostInputs];
    const std::vector<PanelRows::Chunk>& chunks = matrix_.panels.chunks;
    const size_t row = chunks[begin].first, area = c_.output[0] * c_.output[1];
    const size_t group = row / (matrix_.rows / c_.groups);
    const size_t before = group * (c_.channels / c_.groups) * layout_.per_channel();
    image = {image.values + before, image.size - before};
    const auto pieces = grid_.Pieces(panel.first, panel.n, kernels_.width);
    for (size_t b = 0; b + 1 < chunks[begin].begins.size(); ++b) {
      Collect(b, image, panel, pieces, inputs);
      for (size_t i = begin; i < end; ++i) {
        Multiply(chunks[i], b, panel, image, inputs, residual, tile + (chunks[i].first - row) * Pitch(panel),
                 y);
      }
    }
    if (IsWhole(panel) && (last_.is_bound || epilogue_.activation == Activation::kNone)) return;
    const auto runs = grid_.Runs(panel.first, panel.n);
    for (size_t r = row; r < chunks[end - 1].first + chunks[end - 1].rows; ++r) {
      Finish(runs, panel, residual == nullptr ? nullptr : residual + r * area,
             tile + (r - row) * Pitch(panel), y + r * area);
    }
  }

  size_t Pitch(const Panel& panel) const { return panel.vectors * kernels_.width; }

  // Whether a panel is one run of outputs, so that sums go where they belong.
  bool IsWhole(const Panel& panel) const { return grid_.is_output() && panel.n == Pitch(panel); }

  // Block `b` of a chunk. What is added and a bound are left to Finish where a panel is not whole.
  void Multiply(const PanelRows::Chunk& chunk, size_t b, const Panel& panel, const Image& image,
                const float* inputs, const float* residual, float* tile, float* y) const {
    const bool is_whole = IsWhole(panel), is_last = b + 2 == chunk.begins.size();
    const size_t area = c_.output[0] * c_.output[1], offset = chunk.first * area + panel.first;
    PanelBlock work = BlockOf(matrix_.panels, chunk, b);
    work.in = inputs;
    if (is_last && (is_whole || residual == nullptr)) work.sums = last_;
    work.sums.from = work.sums.out = tile;
    work.sums.from_stride = work.sums.out_stride = Pitch(panel);
    if (b == 0) {
      work.sums.bias = epilogue_.bias.empty() ? nullptr : epilogue_.bias.data() + chunk.first;
      work.sums.from = residual != nullptr && is_whole ? residual + offset : nullptr;
      work.sums.from_stride = area;
    }
    if (is_last && is_whole) {
      work.sums.out = y + offset;
      work.sums.out_stride = area;
      work.next.out_is_far = true;
    }
    if (layout_.as_it_is()) Announce(b, panel, image, &work.next);
    kernels_.multiply(work, panel.vectors);
  }

  // The block after block `b`, of this panel or the next, is collected next: what lies as it is may be far
  // away.
  void Announce(size_t b, const Panel& panel, const Image& image, PanelNext* next) const {
    const size_t block = matrix_.panels.block,
                 first = (b + 1) * block < matrix_.columns ? (b + 1) * block : 0;
    next->in = image.values + panel.first + (first == 0 ? Pitch(panel) : 0);
    next->table = table_.data() + first;
    next->columns = std::min(block, matrix_.columns - first);
  }

  // Outputs of one row of a panel that were not finished with the last block.
  void Finish(const std::vector<Grid::Run>& runs, const Panel& panel, const float* residual, float* sums,
              float* out) const {
    if (IsWhole(panel)) return epilogue_.Apply(out + panel.first, panel.n);
    for (const Grid::Run& run : runs) {
      if (residual != nullptr) kernels_.add(residual + run.to, sums + run.from, run.n);
    }
    if (residual != nullptr || !last_.is_bound) epilogue_.Apply(sums, panel.n);
    for (const Grid::Run& run : runs) CopyRun(sums + run.from, run.n, out + run.to);
  }

  // Copies what the columns of a block meet. Lanes past the panel's end may hold anything that can be read; a
  // column near the end of an image that was not laid out, and so is one piece, is copied lane by lane.
  void Collect(size_t b, const Image& image, const Panel& panel, const std::vector<PanelPiece>& pieces,
               float* out) const {
    const uint32_t* const table = table_.data() + b * matrix_.panels.block;
    const size_t columns = std::min(matrix_.panels.block, matrix_.columns - b * matrix_.panels.block);
    const size_t pitch = Pitch(panel);
    size_t whole = columns;
    if (layout_.as_it_is()) {
      while (whole > 0 && size_t{table[whole - 1]} + panel.first + pitch > image.size) --whole;
    }
    kernels_.collect(image.values, table, whole, pieces.data(), pieces.size(), pitch, out);
    for (size_t c = whole; c < columns; ++c) {
      std::copy_n(image.values + table[c] + panel.first, panel.n, out + c * pitch);
      std::fill_n(out + c * pitch + panel.n, pitch - panel.n, 0.0f);
    }
  }

  const SparseRows& matrix_;
  const Convolution& c_;
  const Layout& layout_;
  const ProductKernels& kernels_ = ActiveProductKernels();
  const Grid grid_;
  const Epilogue& epilogue_;
  const std::vector<uint32_t> table_;
  PanelSums last_{};  // how the sums of the last block are bound
};

}  // namespace

void SparseConvolve(const SparseRows& matrix, const Convolution& c, const float* x, size_t batch,
                    const Epilogue& epilogue, const float* residual, float* y, const Parallel& parallel) {
  const size_t area = c.output[0] * c.output[1], taken = c.input[0] * c.input[1];
  if (batch == 0 || matrix.rows == 0 || area == 0) return;
  const Layout layout(c);
  const size_t laid = c.channels * layout.per_channel();
  if (laid >= kTableEnd) throw std::length_error("the input of a convolution has 2^32 elements or more");
  const Convolver convolver(matrix, c, layout, epilogue);
  constexpr size_t kSlack = kMaxVectors * 16, kFillTogether = 8;  // channels
  const Floats copy = layout.as_it_is() ? nullptr : Allocate(laid + kSlack);
  if (copy != nullptr) std::fill_n(copy.get() + laid, kSlack, 0.0f);
  for (size_t b = 0; b < batch; ++b) {
    const float* const source = x + b * c.channels * taken;
    float* const out = y + b * matrix.rows * area;
    const float* const added = residual == nullptr ? nullptr : residual + b * matrix.rows * area;
    if (copy == nullptr) {
      convolver.Run(source, (batch - b) * laid, added, out, parallel);
      continue;
    }
    parallel(Ceil(c.channels, kFillTogether), [&](size_t task) {
      const size_t end = std::min(c.channels, (task + 1) * kFillTogether);
      for (size_t channel = task * kFillTogether; channel < end; ++channel) {
        float* const laid_out = copy.get() + channel * layout.per_channel();
        if (b == 0) std::fill_n(laid_out, layout.per_channel(), 0.0f);
        layout.Fill(source + channel * taken, laid_out);
      }
    });
    convolver.Run(copy.get(), laid + kSlack, added, out, parallel);
  }
}

}  // namespace osq
