// Decodes Huffman streams (FORMAT 3.2).
//
// In each level's array the elements of one tree node lie side by side, in sequence order. So a block of the
// sequence is decoded by itself: count the ones of the block's bits at the root, decode the two runs of that
// many elements at its children, and merge them by those bits; all in a few buffers that stay in the nearest
// cache. Where bits pass the checks but follow no tree, whole levels are merged instead, as the definition
// says.
#include <numeric>

#include "huffman_stream.h"
#include "parallel.h"

namespace osq {
namespace {

constexpr size_t kBlock = size_t{1} << 16;  // elements; a multiple of 8

class BlockDecoder {
 public:
  BlockDecoder(const Kernels& kernels, const HuffmanStream& stream, const Tree& tree)
      : kernels_(kernels), stream_(stream), tree_(tree) {
    scratch_.resize(stream.levels.size() * (std::min(kBlock, stream.count) + 4 * kPadding));
    next_.resize(tree.size());
  }

  // Decodes the elements `first` (a multiple of 8) ... `end` - 1.
  void Decode(size_t first, size_t end, uint8_t* values) {
    Seek(first);
    for (; first < end; first += kBlock) {
      const size_t n = std::min(kBlock, end - first);
      Expand(0, n, values + first, scratch_.data());
      stream_.low.Read(kernels_, first, n, true, values + first);
    }
  }

 private:
  // Finds for each node which of its elements is the first one at or after sequence position `first`.
  void Seek(size_t first) {
    next_[0] = first;
    for (size_t i = 0; i < tree_.size(); ++i) {
      const Node& node = tree_[i];
      const Level& level = stream_.levels[node.level];
      const size_t passed = next_[i];
      next_[i] += node.first;
      const size_t ones = level.Rank(kernels_, next_[i]) - level.Rank(kernels_, node.first);
      if (node.child[0] >= 0) next_[node.child[0]] = passed - ones;
      if (node.child[1] >= 0) next_[node.child[1]] = ones;
    }
  }

  void Expand(int number, size_t n, uint8_t* out, uint8_t* scratch) {
    const Node& node = tree_[number];
    const uint8_t* bits = stream_.levels[node.level].bits;
    const size_t first = next_[number];
    const size_t ones = kernels_.count_ones(bits, first, n);
    next_[number] += n;
    Source sources[2];
    for (int side = 0; side < 2; ++side) {
      const int child = node.child[side];
      if (child < 0) {
        sources[side] = {nullptr, static_cast<uint8_t>(~child << stream_.low.bits)};
        continue;
      }
      const size_t part = side == 0 ? n - ones : ones;
      uint8_t* const values = scratch;
      scratch += (part + 2 * kPadding - 1) / kPadding * kPadding;
      if (part > 0) Expand(child, part, values, scratch);
      sources[side] = {values, 0};
    }
    kernels_.merge(bits, first, n, sources[0], sources[1], out);
  }

  const Kernels& kernels_;
  const HuffmanStream& stream_;
  const Tree& tree_;
  std::vector<uint8_t> scratch_;
  std::vector<size_t> next_;  // per node: its next bit in the level
};

int DecodeBlocks(const Kernels& kernels, const HuffmanStream& stream, const Tree& tree, size_t threads,
                 uint8_t* values) {
  std::vector<BlockDecoder> decoders(threads, BlockDecoder(kernels, stream, tree));
  const size_t blocks = (stream.count + kBlock - 1) / kBlock;
  return ParallelFor(threads, threads, [&](size_t part) {
    const size_t first = blocks * part / threads * kBlock;
    decoders[part].Decode(first, std::min(stream.count, blocks * (part + 1) / threads * kBlock), values);
    return OSQ_OK;
  });
}

// X_l from the deepest level up, exactly as FORMAT.md defines it.
int DecodeLevels(const Kernels& kernels, const HuffmanStream& stream, uint8_t* values) {
  std::vector<uint8_t> merged(stream.count + kPadding), below(stream.count + kPadding);
  size_t leaf = stream.leaf_counts.size();
  for (size_t l = stream.levels.size(); l-- > 0;) {
    const Level& level = stream.levels[l];
    const size_t deeper = l + 1 < stream.levels.size() ? stream.levels[l + 1].count : 0;
    std::copy_n(below.begin(), deeper, merged.begin() + (level.count - deeper));
    size_t at = level.count - deeper;
    for (size_t i = 0; i < stream.ending[l]; ++i) {
      at -= stream.leaf_counts[--leaf];
      std::fill_n(merged.begin() + at, stream.leaf_counts[leaf],
                  static_cast<uint8_t>(leaf << stream.low.bits));
    }
    const Source zero{merged.data(), 0}, one{merged.data() + level.zeros, 0};
    kernels.merge(level.bits, 0, level.count, zero, one, below.data());
  }
  std::copy_n(below.begin(), stream.count, values);
  stream.low.Read(kernels, 0, stream.count, true, values);
  return OSQ_OK;
}

}  // namespace
}  // namespace osq

int osq_huffman_decode(const osq_huffman* stream, size_t count, int threads, uint8_t* values) {
  using namespace osq;
  if (stream == nullptr || values == nullptr) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    const Kernels& kernels = ActiveKernels();
    const size_t useful = UsefulThreads(threads, count);
    HuffmanStream checked;
    if (const int status = checked.Open(*stream, count)) return status;
    if (const int status = checked.CountLevels(kernels, useful)) return status;
    Tree tree;
    if (!BuildTree(checked.leaf_counts, checked.ending, &tree) || !checked.Follows(kernels, tree)) {
      return DecodeLevels(kernels, checked, values);
    }
    return DecodeBlocks(kernels, checked, tree, useful, values);
  });
}
