// A Huffman stream whose attributes have been checked (FORMAT 3.2, "Refuse").
#ifndef ONNXSQUEEZE_HUFFMAN_STREAM_H_
#define ONNXSQUEEZE_HUFFMAN_STREAM_H_

#include <vector>

#include "codec.h"
#include "huffman_tree.h"
#include "pack.h"

namespace osq {

struct Level {
  const uint8_t* bits;
  size_t count;                   // elements, one bit each
  size_t zeros;                   // as declared
  std::vector<uint32_t> ones_at;  // ones before every kRankStep-th bit, then all ones (see CountLevels)

  // Ones before bit `end`.
  size_t Rank(const Kernels& kernels, size_t end) const;
};

constexpr size_t kRankStep = 4096;

struct HuffmanStream {
  size_t count;
  std::vector<Level> levels;
  std::vector<uint64_t> leaf_counts;
  std::vector<size_t> ending;  // leaves that end at each level
  PackedStream low;

  // Checks all but the levels' bits themselves; returns a status.
  int Open(const osq_huffman& stream, size_t elements);

  // Fills the levels' `ones_at` and checks their `zeros`; returns a status.
  int CountLevels(const Kernels& kernels, size_t threads);

  // Whether every node of `tree` has as many ones as its leaves say, so that each block can be decoded by
  // itself.
  bool Follows(const Kernels& kernels, const Tree& tree) const;

 private:
  int OpenLeaves(const osq_huffman& stream);
};

}  // namespace osq

#endif  // ONNXSQUEEZE_HUFFMAN_STREAM_H_
