// Codes leaf numbers (FORMAT 3.2).
//
// The mirror image of decoding: each block of the sequence is parted at the root, and the parts at the
// children. Labels take the place of leaf numbers: leaves numbered from left to right under every node, so
// that the bit of an element is one comparison.
#include <numeric>

#include "huffman_tree.h"
#include "kernels.h"
#include "parallel.h"

namespace osq {
namespace {

constexpr size_t kBlock = size_t{1} << 16;  // elements; a multiple of 8
constexpr size_t kMaxParts = 256;

using Counts = std::vector<uint64_t>;

void CountBytes(const uint8_t* values, size_t count, uint64_t* counts) {
  constexpr size_t kTables = 8;  // neighbours that are equal do not wait for each other
  std::vector<uint32_t> tables(kTables * 256);
  size_t i = 0;
  for (; i + kTables <= count; i += kTables) {
    const uint64_t eight = Load<uint64_t>(values + i);
    for (size_t t = 0; t < kTables; ++t) ++tables[t * 256 + (eight >> 8 * t & 0xFF)];
  }
  for (; i < count; ++i) ++tables[values[i]];
  for (size_t v = 0; v < 256; ++v) {
    counts[v] = 0;
    for (size_t t = 0; t < kTables; ++t) counts[v] += tables[t * 256 + v];
  }
}

int CodeTree(const Counts& counts, const uint8_t* lengths, Tree* tree) {
  if (lengths == nullptr) return OSQ_BAD_ARGUMENT;
  const size_t leaves = counts.size();
  uint64_t total = 0;
  for (size_t j = 0; j < leaves; ++j) {
    if (counts[j] == 0) return OSQ_COUNTS;
    total += counts[j];
    if (lengths[j] < 1 || lengths[j] > kMaxLevels || (j > 0 && lengths[j] < lengths[j - 1])) return OSQ_CODE;
  }
  if (total >= kMaxElements) return OSQ_TOO_LARGE;
  std::vector<size_t> ending(lengths[leaves - 1]);
  for (size_t j = 0; j < leaves; ++j) ++ending[lengths[j] - 1];
  return BuildTree(counts, ending, tree) ? OSQ_OK : OSQ_CODE;
}

// What all blocks share: labels, pivots, and where each level's bits begin.
struct Plan {
  Tree tree;
  uint8_t label_of[256] = {};
  size_t leaves;
  std::vector<uint8_t> pivots;  // per node: the first label of its 1-child
  std::vector<uint8_t*> levels;

  void Label(int child, unsigned* next) {
    if (child < 0) {
      label_of[~child] = static_cast<uint8_t>((*next)++);
      return;
    }
    Label(tree[child].child[0], next);
    pivots[child] = static_cast<uint8_t>(*next);
    Label(tree[child].child[1], next);
  }
};

class BlockEncoder {
 public:
  // Writes at each node the bits of `counts` elements, after those of the `before` elements that precede
  // them.
  BlockEncoder(const Kernels& kernels, const Plan& plan, const Counts& before, const Counts& counts)
      : kernels_(kernels),
        plan_(plan),
        left_(plan.tree.size()),
        ones_left_(left_),
        writers_(plan.tree.size()) {
    Counts passed(plan.tree.size());
    for (size_t i = plan.tree.size(); i-- > 0;) {
      const Node& node = plan.tree[i];
      for (const int child : node.child) {
        passed[i] += child >= 0 ? passed[child] : before[~child];
        ones_left_[i] = child >= 0 ? left_[child] : counts[~child];  // what the second child adds remains
        left_[i] += ones_left_[i];
      }
      const uint64_t first = node.first + passed[i];
      uint8_t* const level = plan.levels[node.level];
      writers_[i].Begin(level, first);
      if (left_[i] == 0) continue;
      level[first / 8] = 0;
      level[(first + left_[i] - 1) / 8] = 0;
    }
  }

  int Encode(const uint8_t* values, size_t count) {
    // Where a whole block goes to the 1-child at every level, each level keeps a block.
    const size_t block = std::min(kBlock, count) + 2 * kPadding;
    scratch_.resize((plan_.levels.size() + 2) * block);
    for (size_t first = 0; first < count; first += kBlock) {
      const size_t n = std::min(kBlock, count - first);
      uint8_t largest = 0;
      for (size_t i = first; i < first + n; ++i) largest = std::max(largest, values[i]);
      if (largest >= plan_.leaves) return OSQ_COUNTS;
      kernels_.translate(values + first, n, plan_.label_of, scratch_.data());
      if (!Part(0, n, scratch_.data(), scratch_.data() + block)) return OSQ_COUNTS;
    }
    for (BitWriter& writer : writers_) writer.End();
    const auto none = [](uint64_t left) { return left == 0; };
    const bool all = std::all_of(left_.begin(), left_.end(), none) &&
                     std::all_of(ones_left_.begin(), ones_left_.end(), none);
    return all ? OSQ_OK : OSQ_COUNTS;
  }

 private:
  // Codes `n` labels at a node and below; overwrites them. False where they are more than the counts said.
  bool Part(int number, size_t n, uint8_t* labels, uint8_t* scratch) {
    const Node& node = plan_.tree[number];
    if (left_[number] < n) return false;
    left_[number] -= n;
    uint8_t* const zero = node.child[0] >= 0 ? labels : nullptr;
    uint8_t* const one = node.child[1] >= 0 ? scratch : nullptr;
    const size_t ones = kernels_.split(labels, n, plan_.pivots[number], &writers_[number], zero, one);
    if (ones_left_[number] < ones) return false;
    ones_left_[number] -= ones;
    if (one != nullptr) scratch += (ones + 2 * kPadding - 1) / kPadding * kPadding;
    if (zero != nullptr && ones < n && !Part(node.child[0], n - ones, zero, scratch)) return false;
    return one == nullptr || ones == 0 || Part(node.child[1], ones, one, scratch);
  }

  const Kernels& kernels_;
  const Plan& plan_;
  Counts left_;       // per node: bits still to be written
  Counts ones_left_;  // and the ones among them
  std::vector<BitWriter> writers_;
  std::vector<uint8_t> scratch_;
};

// Where part `part` of `parts` begins: each but the last is some blocks long.
size_t PartBegin(size_t count, size_t part, size_t parts) {
  const size_t blocks = (count + kBlock - 1) / kBlock;
  return std::min(count, blocks * part / parts * kBlock);
}

// Adds up the counts of all parts; refuses values that are no leaf.
int AddParts(const uint64_t* counts, size_t parts, size_t leaves, Counts* total) {
  if (counts == nullptr || parts < 1 || parts > kMaxParts) return OSQ_BAD_ARGUMENT;
  if (leaves < 2 || leaves > kMaxLeaves) return OSQ_LEAF_COUNT;
  total->assign(leaves, 0);
  for (size_t i = 0; i < 256 * parts; ++i) {
    if (counts[i] >= kMaxElements) return OSQ_TOO_LARGE;
    if (i % 256 < leaves) {
      (*total)[i % 256] += counts[i];
    } else if (counts[i] != 0) {
      return OSQ_COUNTS;
    }
  }
  return OSQ_OK;
}

int EncodeParts(const Plan& plan, const uint8_t* values, size_t count, const uint64_t* counts, size_t parts) {
  Counts before(256);
  std::vector<BlockEncoder> encoders;
  encoders.reserve(parts);
  for (size_t part = 0; part < parts; ++part) {
    const Counts found(counts + 256 * part, counts + 256 * (part + 1));
    encoders.emplace_back(ActiveKernels(), plan, before, found);
    for (size_t j = 0; j < 256; ++j) before[j] += found[j];
  }
  return ParallelFor(parts, parts, [&](size_t part) {
    const size_t first = PartBegin(count, part, parts), end = PartBegin(count, part + 1, parts);
    return Guard([&] { return encoders[part].Encode(values + first, end - first); });
  });
}

}  // namespace
}  // namespace osq

using namespace osq;

int osq_count_bytes(const uint8_t* values, size_t count, size_t parts, uint64_t* counts) {
  if ((values == nullptr && count > 0) || counts == nullptr) return OSQ_BAD_ARGUMENT;
  if (parts < 1 || parts > kMaxParts) return OSQ_BAD_ARGUMENT;
  if (count >= kMaxElements) return OSQ_TOO_LARGE;
  return Guard([&]() -> int {
    return ParallelFor(parts, parts, [&](size_t part) {
      return Guard([&]() -> int {
        const size_t first = PartBegin(count, part, parts), end = PartBegin(count, part + 1, parts);
        CountBytes(values + first, end - first, counts + 256 * part);
        return OSQ_OK;
      });
    });
  });
}

int osq_huffman_sizes(const uint64_t* counts, size_t parts, const uint8_t* lengths, size_t leaves,
                      int64_t* sizes) {
  if (sizes == nullptr) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    Counts total;
    Tree tree;
    if (const int status = AddParts(counts, parts, leaves, &total)) return status;
    if (const int status = CodeTree(total, lengths, &tree)) return status;
    std::fill_n(sizes, lengths[leaves - 1], 0);
    for (const Node& node : tree) sizes[node.level] += static_cast<int64_t>(node.count);
    for (int l = 0; l < lengths[leaves - 1]; ++l) sizes[l] = (sizes[l] + 7) / 8;
    return OSQ_OK;
  });
}

int osq_huffman_encode(const uint8_t* values, size_t count, const uint64_t* counts, size_t parts,
                       const uint8_t* lengths, size_t leaves, uint8_t* payload, size_t payload_bytes,
                       int64_t* zeros, int64_t* ends, int64_t* starts) {
  const bool missing =
      values == nullptr || payload == nullptr || zeros == nullptr || ends == nullptr || starts == nullptr;
  if (missing) return OSQ_BAD_ARGUMENT;
  return Guard([&]() -> int {
    Counts total;
    Plan plan{};
    if (const int status = AddParts(counts, parts, leaves, &total)) return status;
    if (const int status = CodeTree(total, lengths, &plan.tree)) return status;
    plan.leaves = leaves;
    if (plan.tree[0].count != count) return OSQ_COUNTS;
    const size_t levels = lengths[leaves - 1];
    std::vector<uint64_t> elements(levels);
    std::fill_n(zeros, levels, 0);
    std::fill_n(ends, levels, 0);
    for (const Node& node : plan.tree) {
      elements[node.level] += node.count;
      zeros[node.level] += static_cast<int64_t>(CountOf(plan.tree, total, node.child[0]));
    }
    int64_t start = 0;
    for (size_t j = 0; j < leaves; ++j) {
      ends[lengths[j] - 1] += static_cast<int64_t>(total[j]);
      start += static_cast<int64_t>(total[j]);
      if (j + 1 < leaves) starts[j] = start;
    }
    size_t used = 0;
    for (const uint64_t n : elements) {
      plan.levels.push_back(payload + used);
      used += (n + 7) / 8;
      if (used > payload_bytes) return OSQ_BAD_ARGUMENT;
    }
    if (used != payload_bytes) return OSQ_BAD_ARGUMENT;
    plan.pivots.resize(plan.tree.size());
    unsigned next = 0;
    plan.Label(0, &next);
    return EncodeParts(plan, values, count, counts, parts);
  });
}
