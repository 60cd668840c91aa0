// How convolutions lay out their inputs, and which positions they compute.
#ifndef ONNXSQUEEZE_CONVOLUTION_LAYOUT_H_
#define ONNXSQUEEZE_CONVOLUTION_LAYOUT_H_

#include <algorithm>
#include <cstring>
#include <vector>

#include "bits.h"
#include "panels.h"

namespace osq {

template <size_t kStep>
OSQ_INLINE void CopySteps(const float* from, size_t n, float* to) {
  for (size_t i = 0; i + kStep <= n; i += kStep) std::memcpy(to + i, from + i, kStep * sizeof(float));
  std::memcpy(to + n - kStep, from + n - kStep, kStep * sizeof(float));
}

// Copies a short run of floats: calls of memcpy would take as long as what they do.
OSQ_INLINE void CopyRun(const float* from, size_t n, float* to) {
  if (n >= 16) return CopySteps<16>(from, n, to);
  if (n >= 4) return CopySteps<4>(from, n, to);
  for (size_t i = 0; i < n; ++i) to[i] = from[i];
}

// Copies every other one of some floats: in a loop of its own, which compilers turn into shuffles.
OSQ_INLINE void CopyEven(const float* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] = from[2 * i];
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

  // Lays out one channel in memory that is all zeros, or that held another one.
  void Fill(const float* x, float* out) const {
    for (const size_t py : phases_[0]) {
      const Span down = SpanOf(0, py);
      for (const size_t px : phases_[1]) {
        const Span across = SpanOf(1, px);
        for (size_t i = 0; i < down.count; ++i) {
          const float* const row = x + (down.from + i * c_.stride[0]) * c_.input[1] + across.from;
          FillRow(row, across.count, out + (down.first + i) * width() + across.first);
        }
        out += plane();
      }
    }
  }

 private:
  // Inputs along a dimension of a phase: zeros come before the first and after the last.
  struct Span {
    size_t first, count, from;  // in the phase, how many, and of the input
  };

  Span SpanOf(int d, size_t phase) const {
    const size_t stride = c_.stride[d], pad = c_.pad[d], size = c_.input[d];
    const size_t first = phase >= pad ? 0 : (pad - phase + stride - 1) / stride;
    const size_t from = first * stride + phase - pad;
    if (first >= size_[d] || from >= size) return {};
    return {first, std::min(size_[d] - first, (size - from + stride - 1) / stride), from};
  }

  size_t Phase(int d, size_t at) const {
    const auto found = std::find(phases_[d].begin(), phases_[d].end(), at % c_.stride[d]);
    return static_cast<size_t>(found - phases_[d].begin());
  }

  void FillRow(const float* x, size_t n, float* out) const {
    if (c_.stride[1] == 1) return CopyRun(x, n, out);
    if (c_.stride[1] == 2) return CopyEven(x, n, out);
    for (size_t i = 0; i < n; ++i) out[i] = x[i * c_.stride[1]];
  }

  const Convolution& c_;
  std::vector<size_t> phases_[2];
  size_t size_[2];
  bool as_it_is_ = true;
};

// The positions that are computed: those of the output, row by row. Where the laid out rows are a little
// longer, those between are computed, too, and dropped: so what a column meets is one run.
class Grid {
 public:
  Grid(const Convolution& c, size_t laid_width, size_t lanes)
      : width_(c.output[1]), laid_width_(laid_width), positions_(c.output[0] * width_) {
    constexpr size_t kMostMore = 5;  // one more of so many vectors is worth it
    const size_t all = (c.output[0] - 1) * laid_width + width_;
    const bool pays = Ceil(all, lanes) <= Ceil(positions_, lanes) * (kMostMore + 1) / kMostMore;
    is_wide_ = laid_width != width_ && pays;
    if (is_wide_) positions_ = all;
  }

  size_t positions() const { return positions_; }
  bool is_output() const { return !is_wide_; }  // nothing is dropped

  // Where `n` positions from `first` on meet the laid out input.
  std::vector<PanelPiece> Pieces(size_t first, size_t n, size_t lanes) const {
    if (is_wide_ || laid_width_ == width_) return {{first, 0, Ceil(n, lanes)}};
    std::vector<PanelPiece> pieces;
    for (size_t i = 0, run; i < n; i += run) {
      const size_t y = (first + i) / width_, x = (first + i) % width_;
      run = std::min(n - i, width_ - x);
      pieces.push_back({y * laid_width_ + x, i, Ceil(run, lanes)});
    }
    return pieces;
  }

  struct Run {
    size_t from, to, n;  // position from the first one on, and in the output
  };

  // Outputs among `n` positions from `first` on.
  std::vector<Run> Runs(size_t first, size_t n) const {
    if (!is_wide_) return {{0, first, n}};
    std::vector<Run> runs;
    for (size_t i = 0; i < n;) {
      const size_t y = (first + i) / laid_width_, x = (first + i) % laid_width_;
      if (x < width_) runs.push_back({i, y * width_ + x, std::min(n - i, width_ - x)});
      i += laid_width_ - x;
    }
    return runs;
  }

 private:
  size_t width_, laid_width_, positions_;
  bool is_wide_;
};

}  // namespace osq

#endif  // ONNXSQUEEZE_CONVOLUTION_LAYOUT_H_
