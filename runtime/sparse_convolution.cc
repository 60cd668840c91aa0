// Convolutions with sparse weights.
#include <stdexcept>

#include "sparse_rows.h"

namespace osq {
namespace {

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
  size_t positions() const { return (c_.output[0] - 1) * width() + c_.output[1]; }

  // Where the run of each column of the matrix begins, from its group's first channel.
  std::vector<uint32_t> Table() const {
    std::vector<uint32_t> table;
    for (size_t channel = 0; channel < c_.channels / c_.groups; ++channel) {
      for (size_t ky = 0; ky < c_.kernel[0]; ++ky) {
        for (size_t kx = 0; kx < c_.kernel[1]; ++kx) {
          const size_t y = ky * c_.dilation[0], x = kx * c_.dilation[1];
          const size_t phase = Phase(0, y) * phases_[1].size() + Phase(1, x);
          const size_t at =
              channel * per_channel() + phase * plane() + y / c_.stride[0] * width() + x / c_.stride[1];
          table.push_back(static_cast<uint32_t>(at));
        }
      }
    }
    return table;
  }

  // Lays out one channel.
  void Fill(const float* x, float* out) const {
    for (const size_t py : phases_[0]) {
      for (const size_t px : phases_[1]) {
        for (size_t q = 0; q < size_[0]; ++q, out += width()) FillRow(x, q * c_.stride[0] + py, px, out);
      }
    }
  }

 private:
  size_t Phase(int d, size_t at) const {
    const auto found = std::find(phases_[d].begin(), phases_[d].end(), at % c_.stride[d]);
    return static_cast<size_t>(found - phases_[d].begin());
  }

  // One row: zeros, then inputs a stride apart, then zeros.
  void FillRow(const float* x, size_t padded_y, size_t px, float* out) const {
    const size_t stride = c_.stride[1], pad = c_.pad[1], size = c_.input[1];
    size_t first = px >= pad ? 0 : std::min(width(), (pad - px + stride - 1) / stride), end = first;
    if (padded_y >= c_.pad[0] && padded_y - c_.pad[0] < c_.input[0] && first * stride + px - pad < size) {
      const float* const row = x + (padded_y - c_.pad[0]) * size + first * stride + px - pad;
      end = std::min(width(), first + (size - (first * stride + px - pad) + stride - 1) / stride);
      if (stride == 1) {
        std::copy_n(row, end - first, out + first);
      } else {
        for (size_t q = first; q < end; ++q) out[q] = row[(q - first) * stride];
      }
    }
    std::fill_n(out, first, 0.0f);
    std::fill(out + end, out + width(), 0.0f);
  }

  const Convolution& c_;
  std::vector<size_t> phases_[2];
  size_t size_[2];
  bool as_it_is_ = true;
};

// Stores results of neighbouring positions of the laid out input: those past the output's width are dropped.
void StorePositions(const float* results, size_t first, size_t n, size_t laid_width, size_t width,
                    float* out) {
  if (laid_width == width) {
    std::copy_n(results, n, out + first);
    return;
  }
  for (size_t i = 0; i < n;) {
    const size_t y = (first + i) / laid_width, x = (first + i) % laid_width;
    const size_t run = std::min(n - i, laid_width - x);
    if (x < width) std::copy_n(results + i, std::min(run, width - x), out + y * width + x);
    i += run;
  }
}

// An image laid out: where the runs of a panel begin.
struct Image {
  const float* data = nullptr;
  std::vector<uint32_t> table;
  size_t group = 0;  // floats of the channels of one group

  // The last panel of an image that lies as it came in must not be read past its end.
  const float* tail = nullptr;
  std::vector<uint32_t> tail_table;
  size_t tail_group = 0;
};

void ConvolveOne(const Rows& rows, const Convolution& c, const Layout& layout, const Image& image,
                 const Epilogue& epilogue, float* y, const Parallel& parallel) {
  const size_t positions = layout.positions(), panels = (positions + kPanel - 1) / kPanel;
  const size_t count = rows.matrix.rows, blocks = (count + kTaskRows - 1) / kTaskRows;
  const size_t group_rows = count / c.groups, area = c.output[0] * c.output[1];
  parallel(panels * blocks, [&](size_t task) {
    const size_t first = task / blocks * kPanel, n = std::min(kPanel, positions - first);
    const size_t begin = task % blocks * kTaskRows, end = std::min(count, begin + kTaskRows);
    const bool is_tail = n < kPanel && image.tail != nullptr;
    const float* const in = is_tail ? image.tail : image.data + first;
    const std::vector<uint32_t>& table = is_tail ? image.tail_table : image.table;
    alignas(64) float tile[kTaskRows * kPanel];
    const size_t width = RoundUp(n, 16);
    for (size_t row = begin; row < end;) {  // rows of one group at a time
      const size_t group = row / group_rows, rest = std::min(end, (group + 1) * group_rows) - row;
      const float* const from = in + group * (is_tail ? image.tail_group : image.group);
      FillTile(rows, row, rest, table.data(), from, width, 1, epilogue, tile);
      epilogue.Apply(tile, rest * width);
      for (size_t r = 0; r < rest; ++r) {
        StorePositions(tile + r * width, first, n, layout.width(), c.output[1], y + (row + r) * area);
      }
      row += rest;
    }
  });
}

// Copies the last positions of every channel, `kPanel` apart.
void FillTail(const Convolution& c, const float* x, Floats* storage, Image* image) {
  const size_t size = c.input[0] * c.input[1], n = size % kPanel, per_group = c.channels / c.groups;
  if (n == 0) return;
  if (*storage == nullptr) *storage = Allocate(c.channels * kPanel);
  for (size_t channel = 0; channel < c.channels; ++channel) {
    float* const out = storage->get() + channel * kPanel;
    std::copy_n(x + (channel + 1) * size - n, n, out);
    std::fill_n(out + n, kPanel - n, 0.0f);
  }
  image->tail = storage->get();
  image->tail_group = per_group * kPanel;
  image->tail_table.resize(per_group);
  for (size_t i = 0; i < per_group; ++i) image->tail_table[i] = static_cast<uint32_t>(i * kPanel);
}

}  // namespace

void SparseConvolve(const SparseRows& matrix, const Convolution& c, const float* x, size_t batch,
                    const Epilogue& epilogue, float* y, const Parallel& parallel) {
  const size_t area = c.output[0] * c.output[1], taken = c.input[0] * c.input[1];
  if (batch == 0 || matrix.rows == 0 || area == 0) return;
  const Layout layout(c);
  Image image;
  image.group = c.channels / c.groups * layout.per_channel();
  const size_t laid = c.channels * layout.per_channel();
  if (laid >= kTableEnd) throw std::length_error("the input of a convolution has 2^32 elements or more");
  image.table = layout.Table();
  Floats copy;
  if (!layout.as_it_is()) {
    copy = Allocate(laid + kPanel);
    std::fill_n(copy.get() + laid, kPanel, 0.0f);
  }
  for (size_t b = 0; b < batch; ++b) {
    const float* const source = x + b * c.channels * taken;
    if (layout.as_it_is()) {
      image.data = source;
      FillTail(c, source, &copy, &image);
    } else {
      image.data = copy.get();
      parallel(c.channels, [&](size_t channel) {
        layout.Fill(source + channel * taken, copy.get() + channel * layout.per_channel());
      });
    }
    ConvolveOne(Rows{matrix}, c, layout, image, epilogue, y + b * matrix.rows * area, parallel);
  }
}

}  // namespace osq
