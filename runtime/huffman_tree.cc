#include "huffman_tree.h"

namespace osq {

bool BuildTree(const std::vector<uint64_t>& counts, const std::vector<size_t>& ending, Tree* tree) {
  tree->assign(1, Node{{}, 0, 0, 0});
  size_t begin = 0, leaf = 0;
  for (size_t level = 0; level < ending.size(); ++level) {
    const size_t end = tree->size();
    const size_t children = 2 * (end - begin);
    if (ending[level] > children || leaf + children > counts.size()) return false;
    for (size_t i = 0; i < children; ++i) {
      const size_t side = i / (end - begin);
      const size_t parent = begin + i % (end - begin);
      if (i < ending[level]) {
        (*tree)[parent].child[side] = ~static_cast<int>(leaf++);
      } else {
        (*tree)[parent].child[side] = static_cast<int>(tree->size());
        tree->push_back(Node{{}, static_cast<int>(level) + 1, 0, 0});
      }
    }
    begin = end;
  }
  if (begin != tree->size() || leaf != counts.size()) return false;
  for (size_t i = tree->size(); i-- > 0;) {
    Node& node = (*tree)[i];
    node.count = CountOf(*tree, counts, node.child[0]) + CountOf(*tree, counts, node.child[1]);
  }
  for (size_t i = 1; i < tree->size(); ++i) {
    const Node& before = (*tree)[i - 1];
    Node& node = (*tree)[i];
    node.first = node.level == before.level ? before.first + before.count : 0;
  }
  return true;
}

}  // namespace osq
