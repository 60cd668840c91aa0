// The shape of a canonical Huffman tree in the order of FORMAT 3.2.
#ifndef ONNXSQUEEZE_HUFFMAN_TREE_H_
#define ONNXSQUEEZE_HUFFMAN_TREE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace osq {

constexpr int kMaxLevels = 12;
constexpr size_t kMaxLeaves = 256;

struct Node {
  std::array<int, 2> child;  // a node's number, or ~(a leaf's number)
  int level;
  uint64_t count;  // elements that pass through
  uint64_t first;  // where they begin among the elements of the level
};

// The inner nodes in level order, the root first.
using Tree = std::vector<Node>;

// Builds the tree of leaves that occur counts[j] times and of which `ending[l]` have codes of l + 1 bits.
// Returns false where no complete tree has these lengths.
bool BuildTree(const std::vector<uint64_t>& counts, const std::vector<size_t>& ending, Tree* tree);

inline uint64_t CountOf(const Tree& tree, const std::vector<uint64_t>& counts, int child) {
  return child >= 0 ? tree[child].count : counts[~child];
}

}  // namespace osq

#endif  // ONNXSQUEEZE_HUFFMAN_TREE_H_
