// Convolutions with sparse weights.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "bits.h"
#include "panels.h"

namespace osq {
namespace {

// Copies a short run of floats: calls of memcpy would take as long as what they do.
OSQ_INLINE void CopyRun(const float* from, size_t n, float* to) {
  constexpr size_t kStep = 16;
  if (n < kStep) {
    for (size_t i = 0; i < n; ++i) to[i] = from[i];
    return;
  }
  for (size_t i = 0; i + kStep <= n; i += kStep) std::memcpy(to + i, from + i, kStep * sizeof(float));
  std::memcpy(to + n - kStep, from + n - kStep, kStep * sizeof(float));
}

// How the input of a convolution is laid out so that each weight meets one run of it: padded, and parted by
// phase where the stride is over 1, so that neighbours in the output have neighbours in the input.
class Layout {
 public:
  explicit Layout(const Convolution& convolution) : c_(convolution) {
    for (int d = 0; d < 2; ++d) {
      size_t reach = 0;
      for (size_t k = 0; k < c_.kernel[d]; ++k) {
        const size_t at = k * c_.dilation[d];
        reach = std::max(reach, at / c_.stride[d]);
        if (std::find(phases_[d].begin(), phases_[d].end(), at % c_.stride[d]) == phases_[d].end()) {
          phases_[d].push_back(at % c_.stride[d]);
        }
      }
      size_[d] = c_.output[d] + reach;
    }
    for (int d = 0; d < 2; ++d) {
      as_it_is_ =
          as_it_is_ && c_.kernel[d] == 1 && c_.stride[d] == 1 && c_.pad[d] == 0 && size_[d] == c_.input[d];
    }
  }

  bool as_it_is() const { return as_it_is_; }  // the input needs no copy
  size_t width() const { return size_[1]; }
  size_t plane() const { return size_[0] * size_[1]; }
  size_t per_channel() const { return phases_[0].size() * phases_[1].size() * plane(); }

  // Where the run of each column of the matrix begins, from its group's first channel.
  std::vector<uint32_t> Table() const {
    std::vector<size_t> taps;
    for (size_t ky = 0; ky < c_.kernel[0]; ++ky) {
      for (size_t kx = 0; kx < c_.kernel[1]; ++kx) {
        const size_t y = ky * c_.dilation[0], x = kx * c_.dilation[1];
        const size_t phase = Phase(0, y) * phases_[1].size() + Phase(1, x);
        taps.push_back(phase * plane() + y / c_.stride[0] * width() + x / c_.stride[1]);
      }
    }
    std::vector<uint32_t> table;
    table.reserve(c_.channels / c_.groups * taps.size());
    for (size_t channel = 0; channel < c_.channels / c_.groups; ++channel) {
      for (const size_t tap : taps) table.push_back(static_cast<uint32_t>(channel * per_channel() + tap));
    }
    return table;
  }

  // Lays out one channel.
  void Fill(const float* x, float* out) const {
    for (const size_t py : phases_[0]) {
      for (const size_t px : phases_[1]) {
        const Span span = SpanOf(px);
        for (size_t q = 0; q < size_[0]; ++q, out += width()) {
          const size_t y = q * c_.stride[0] + py - c_.pad[0];  // wraps around above the input
          const bool is_inside = y < c_.input[0];
          FillRow(is_inside ? x + y * c_.input[1] : x, is_inside ? span : Span{}, out);
        }
      }
    }
  }

 private:
  // Inputs of a row of a phase: zeros come before the first and after the last.
  struct Span {
    size_t first, count, from;  // in the row, how many, and of the input
  };

  Span SpanOf(size_t px) const {
    const size_t stride = c_.stride[1], pad = c_.pad[1], size = c_.input[1];
    const size_t first = px >= pad ? 0 : (pad - px + stride - 1) / stride, from = first * stride + px - pad;
    if (first >= width() || from >= size) return {};
    return {first, std::min(width() - first, (size - from + stride - 1) / stride), from};
  }

  size_t Phase(int d, size_t at) const {
    const auto found = std::find(phases_[d].begin(), phases_[d].end(), at % c_.stride[d]);
    return static_cast<size_t>(found - phases_[d].begin());
  }

  void FillRow(const float* x, const Span& span, float* out) const {
    const size_t stride = c_.stride[1], end = span.first + span.count;
    std::fill(out, out + span.first, 0.0f);
    if (stride == 1) {
      CopyRun(x + span.from, span.count, out + span.first);
    } else {
      for (size_t i = 0; i < span.count; ++i) out[span.first + i] = x[span.from + i * stride];
    }
    std::fill(out + end, out + width(), 0.0f);
  }

  const Convolution& c_;
  std::vector<size_t> phases_[2];
  size_t size_[2];
  bool as_it_is_ = true;
};

// Where `n` outputs from `first` on meet the laid out input: row by row, unless rows lie one after another.
std::vector<PanelPiece> PiecesOf(size_t first, size_t n, size_t width, size_t laid_width, size_t lanes) {
  std::vector<PanelPiece> pieces;
  for (size_t i = 0, run; i < n; i += run) {
    const size_t y = (first + i) / width, x = (first + i) % width;
    run = laid_width == width ? n : std::min(n - i, width - x);
    pieces.push_back({y * laid_width + x, i, Ceil(run, lanes)});
  }
  return pieces;
}

// An image laid out, and the matrix that meets it.
class Convolver {
 public:
  Convolver(const SparseRows& matrix, const Convolution& c, const Layout& layout, const Epilogue& epilogue)
      : matrix_(matrix), c_(c), layout_(layout), epilogue_(epilogue), table_(layout.Table()) {}

  // `size`: floats from `image` on that may be read.
  void Run(const float* image, size_t size, const float* residual, float* y, const Parallel& parallel) const {
    const size_t area = c_.output[0] * c_.output[1], chunks = matrix_.panels.chunks.size();
    const Cut cut(Ceil(area, kernels_.width), matrix_.panels.vectors);
    parallel(cut.panels * chunks, [&](size_t task) {
      const size_t first = task / chunks * cut.vectors * kernels_.width;
      const size_t n = std::min(cut.vectors * kernels_.width, area - first);
      RunChunk(matrix_.panels.chunks[task % chunks], image, size, {first, n, Ceil(n, kernels_.width)},
               residual, y);
    });
  }

 private:
  struct Panel {
    size_t first, n, vectors;  // outputs, and how many vectors they make
  };

  void RunChunk(const PanelRows::Chunk& chunk, const float* image, size_t size, const Panel& panel,
                const float* residual, float* y) const {
    alignas(64) float tile[kMostSums];
    alignas(64) float inputs[kMostInputs + 16];
    const size_t pitch = panel.vectors * kernels_.width, block = matrix_.panels.block;
    const size_t group = chunk.first / (matrix_.rows / c_.groups);
    const size_t before = group * (c_.channels / c_.groups) * layout_.per_channel();
    const float* const bias = epilogue_.bias.empty() ? nullptr : epilogue_.bias.data() + chunk.first;
    const size_t area = c_.output[0] * c_.output[1], blocks = chunk.begins.size() - 1;
    float* const out = y + chunk.first * area + panel.first;
    const auto pieces = PiecesOf(panel.first, panel.n, c_.output[1], layout_.width(), kernels_.width);
    const bool is_whole = panel.n == pitch;  // sums go where they belong
    for (size_t b = 0; b < blocks; ++b) {
      const size_t columns = std::min(block, matrix_.columns - b * block);
      Collect(table_.data() + b * block, columns, image + before, size - before, panel, pieces, inputs);
      PanelBlock work = BlockOf(matrix_.panels, chunk, b);
      work.in = inputs;
      work.sums = {bias, b == 0 ? nullptr : tile, pitch, tile, pitch};
      if (is_whole && b + 1 == blocks) {
        work.sums.out = out;
        work.sums.out_stride = area;
      }
      kernels_.multiply(work, panel.vectors);
    }
    if (residual != nullptr) residual += chunk.first * area + panel.first;
    for (size_t r = 0; r < chunk.rows; ++r) {
      float* const sums = is_whole ? out + r * area : tile + r * pitch;
      if (residual != nullptr) kernels_.add(residual + r * area, sums, panel.n);
      epilogue_.Apply(sums, panel.n);
      if (!is_whole) std::copy_n(sums, panel.n, out + r * area);
    }
  }

  // Copies what the columns of a block meet. Lanes past the panel's end may hold anything that can be read; a
  // column near the end of an image that was not laid out, and so is one piece, is copied lane by lane.
  void Collect(const uint32_t* table, size_t columns, const float* from, size_t size, const Panel& panel,
               const std::vector<PanelPiece>& pieces, float* out) const {
    const size_t pitch = panel.vectors * kernels_.width;
    size_t whole = columns;
    if (layout_.as_it_is()) {
      while (whole > 0 && size_t{table[whole - 1]} + panel.first + pitch > size) --whole;
    }
    kernels_.collect(from, table, whole, pieces.data(), pieces.size(), pitch, out);
    for (size_t c = whole; c < columns; ++c) {
      std::copy_n(from + table[c] + panel.first, panel.n, out + c * pitch);
      std::fill_n(out + c * pitch + panel.n, pitch - panel.n, 0.0f);
    }
  }

  const SparseRows& matrix_;
  const Convolution& c_;
  const Layout& layout_;
  const Epilogue& epilogue_;
  const std::vector<uint32_t> table_;
  const ProductKernels& kernels_ = ActiveProductKernels();
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
  constexpr size_t kSlack = kMaxVectors * 16;
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
    parallel(c.channels, [&](size_t channel) {
      layout.Fill(source + channel * taken, copy.get() + channel * layout.per_channel());
    });
    convolver.Run(copy.get(), laid + kSlack, added, out, parallel);
  }
}

}  // namespace osq
