#include "huffman_stream.h"

#include "parallel.h"

namespace osq {

size_t Level::Rank(const Kernels& kernels, size_t end) const {
  const size_t step = end / kRankStep;
  return ones_at[step] + kernels.count_ones(bits, step * kRankStep, end % kRankStep);
}

int HuffmanStream::Open(const osq_huffman& stream, size_t elements) {
  count = elements;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  if (stream.levels < 1 || stream.levels > kMaxLevels || stream.low < 0 || stream.low > 7)
    return OSQ_BAD_ARGUMENT;
  const bool missing = stream.sizes == nullptr || stream.zeros == nullptr || stream.leaves == nullptr ||
                       (stream.starts == nullptr && stream.starts_count > 0) ||
                       (stream.payload == nullptr && stream.payload_bytes > 0);
  if (missing) return OSQ_BAD_ARGUMENT;
  const size_t planes = PlanesOf(stream.low).count;
  if (stream.segments != stream.levels + planes) return OSQ_SEGMENT_COUNT;
  if (const int status = CheckSegments(stream.sizes, stream.segments, stream.payload_bytes)) return status;
  if (const int status = OpenLeaves(stream)) return status;
  const uint8_t* segment = stream.payload;
  for (size_t l = 0; l < stream.levels; ++l) {
    const int64_t zeros = stream.zeros[l];
    const auto bytes = static_cast<size_t>(stream.sizes[l]);
    if (bytes != (levels[l].count + 7) / 8) return OSQ_LEVEL_LENGTH;
    if (zeros < 0 || static_cast<uint64_t>(zeros) > levels[l].count) return OSQ_ZEROS;
    if (LoadBits(segment, levels[l].count, 8 * bytes - levels[l].count) != 0) return OSQ_LEVEL_UNUSED;
    levels[l].bits = segment;
    levels[l].zeros = static_cast<size_t>(zeros);
    segment += bytes;
  }
  return low.Open(segment, stream.sizes + stream.levels, stream.low, count);
}

// Leaf counts from `starts`, elements and leaves per level from `leaves`.
int HuffmanStream::OpenLeaves(const osq_huffman& stream) {
  const size_t leaf_count = stream.starts_count + 1;
  if (stream.starts_count < 1 || leaf_count > kMaxLeaves >> stream.low) return OSQ_LEAF_COUNT;
  uint64_t start = 0;
  for (size_t j = 0; j < leaf_count; ++j) {
    const int64_t next = j + 1 < leaf_count ? stream.starts[j] : static_cast<int64_t>(count);
    if (next < 0 || static_cast<uint64_t>(next) <= start) return OSQ_STARTS;
    if (static_cast<uint64_t>(next) > count) return OSQ_STARTS;
    leaf_counts.push_back(static_cast<uint64_t>(next) - start);
    start = static_cast<uint64_t>(next);
  }
  size_t left = count, leaf = 0;
  for (size_t l = 0; l < stream.levels; ++l) {
    levels.push_back(Level{nullptr, left, 0, {}});
    ending.push_back(0);
    if (stream.leaves[l] < 0 || static_cast<uint64_t>(stream.leaves[l]) > left) return OSQ_LEAVES;
    const auto target = left - static_cast<size_t>(stream.leaves[l]);
    for (; left > target; ++leaf, ++ending[l]) {
      if (leaf_counts[leaf] > left - target) return OSQ_INSIDE_LEAF;
      left -= leaf_counts[leaf];
    }
  }
  return left == 0 ? OSQ_OK : OSQ_LEAVES;
}

int HuffmanStream::CountLevels(const Kernels& kernels, size_t threads) {
  for (Level& level : levels) level.ones_at.resize((level.count + kRankStep - 1) / kRankStep + 1);
  const size_t parts = threads;
  ParallelFor(threads, parts, [&](size_t part) {
    for (Level& level : levels) {
      const size_t steps = level.ones_at.size() - 1;
      for (size_t s = steps * part / parts; s < steps * (part + 1) / parts; ++s) {
        const size_t first = s * kRankStep;
        const size_t ones = kernels.count_ones(level.bits, first, std::min(kRankStep, level.count - first));
        level.ones_at[s + 1] = static_cast<uint32_t>(ones);
      }
    }
    return OSQ_OK;
  });
  for (Level& level : levels) {
    for (size_t s = 1; s < level.ones_at.size(); ++s) level.ones_at[s] += level.ones_at[s - 1];
    if (level.zeros + level.ones_at.back() != level.count) return OSQ_ZEROS;
  }
  return OSQ_OK;
}

bool HuffmanStream::Follows(const Kernels& kernels, const Tree& tree) const {
  for (const Node& node : tree) {
    const Level& level = levels[node.level];
    const size_t ones = level.Rank(kernels, node.first + node.count) - level.Rank(kernels, node.first);
    if (ones != CountOf(tree, leaf_counts, node.child[1])) return false;
  }
  return true;
}

}  // namespace osq
