// The codecs once more, written for clearness alone: what the tests compare the
// library with.
#ifndef ONNXSQUEEZE_TESTS_CODEC_REFERENCE_H_
#define ONNXSQUEEZE_TESTS_CODEC_REFERENCE_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                \
    }                                                                              \
  } while (false)

namespace reference {

using Bytes = std::vector<uint8_t>;
using Ints = std::vector<int64_t>;

// A coded stream with all that FORMAT.md stores of it.
struct Stream {
  Bytes payload;
  Ints sizes, zeros, leaves, starts;
  int low = 0;
};

inline std::vector<int> PlaneWidths(int bits) {
  if (bits == 8) return {8};
  std::vector<int> widths;
  for (int width = 4; width > 0; width /= 2) {
    if (bits & width) widths.push_back(width);
  }
  return widths;
}

// FORMAT 3.1: the payload of `values` below 2^bits.
inline Bytes Pack(const Bytes& values, int bits) {
  const size_t blocks = (values.size() + 7) / 8;
  Bytes payload;
  int shift = bits;
  for (const int width : PlaneWidths(bits)) {
    shift -= width;
    const size_t begin = payload.size();
    payload.resize(begin + width * blocks);
    for (size_t i = 0; i < values.size(); ++i) {
      const unsigned field = (values[i] >> shift) & ((1u << width) - 1);
      payload[begin + i * width / 8] |= static_cast<uint8_t>(field << (i * width % 8));
    }
  }
  return payload;
}

inline bool SegmentsFill(const Ints& sizes, size_t bytes) {
  uint64_t left = bytes;
  for (const int64_t size : sizes) {
    if (size < 0 || static_cast<uint64_t>(size) > left) return false;
    left -= static_cast<uint64_t>(size);
  }
  return left == 0;
}

// FORMAT 3.1 from segment `segment`, byte `at`; nothing where it must be refused.
inline std::optional<Bytes> Unpack(const Bytes& payload, const Ints& sizes, size_t segment, size_t at,
                                   int bits, size_t count) {
  const std::vector<int> widths = PlaneWidths(bits);
  const size_t blocks = (count + 7) / 8;
  if (sizes.size() != segment + widths.size() || !SegmentsFill(sizes, payload.size())) return {};
  Bytes values(count);
  for (const int width : widths) {
    if (sizes[segment] != static_cast<int64_t>(width * blocks)) return {};
    for (size_t i = 0; i < 8 * blocks; ++i) {
      const unsigned field = payload[at + i * width / 8] >> (i * width % 8) & ((1u << width) - 1);
      if (i >= count && field != 0) return {};
      if (i >= count) continue;
      values[i] = static_cast<uint8_t>(values[i] << width | field);
    }
    at += static_cast<size_t>(sizes[segment++]);
  }
  return values;
}

// The elements sorted by leaf number, and n_l of every level; nothing where the attributes contradict each
// other.
struct Leaves {
  Bytes sorted;
  std::vector<size_t> level_counts;  // one more than levels: the last is 0
};

inline std::optional<Leaves> CheckLeaves(const Stream& stream, size_t count) {
  const size_t leaf_count = stream.starts.size() + 1;
  if (leaf_count < 2 || leaf_count << stream.low > 256) return {};
  std::vector<bool> cut(count + 1);
  cut[0] = cut[count] = true;
  int64_t before = 0;
  Leaves found;
  for (size_t j = 0; j < leaf_count; ++j) {
    const int64_t next = j + 1 < leaf_count ? stream.starts[j] : static_cast<int64_t>(count);
    if (next <= before || next > static_cast<int64_t>(count)) return {};
    cut[static_cast<size_t>(next)] = true;
    found.sorted.insert(found.sorted.end(), static_cast<size_t>(next - before), static_cast<uint8_t>(j));
    before = next;
  }
  size_t ended = 0;
  for (const int64_t leaves : stream.leaves) {
    found.level_counts.push_back(count - ended);
    if (leaves < 0 || static_cast<uint64_t>(leaves) > count - ended) return {};
    ended += static_cast<size_t>(leaves);
    if (!cut[ended]) return {};
  }
  found.level_counts.push_back(count - ended);
  return ended == count ? std::optional(found) : std::nullopt;
}

// FORMAT 3.2 "Decoding", level by level; nothing where it must be refused.
inline std::optional<Bytes> HuffmanDecode(const Stream& stream, size_t count) {
  const size_t levels = stream.leaves.size();
  if (levels < 1 || levels > 12 || stream.zeros.size() != levels || stream.low < 0 || stream.low > 7)
    return {};
  if (stream.sizes.size() != levels + PlaneWidths(stream.low).size()) return {};
  if (!SegmentsFill(stream.sizes, stream.payload.size())) return {};
  const std::optional<Leaves> leaves = CheckLeaves(stream, count);
  if (!leaves) return {};
  std::vector<size_t> begins(1, 0);
  for (size_t l = 0; l < levels; ++l) {
    if (stream.sizes[l] != static_cast<int64_t>((leaves->level_counts[l] + 7) / 8)) return {};
    begins.push_back(begins.back() + static_cast<size_t>(stream.sizes[l]));
  }
  Bytes below;
  for (size_t l = levels; l-- > 0;) {
    const size_t n = leaves->level_counts[l];
    Bytes merged(leaves->sorted.end() - static_cast<ptrdiff_t>(n), leaves->sorted.end());
    std::copy(below.begin(), below.end(), merged.end() - static_cast<ptrdiff_t>(below.size()));
    std::vector<bool> bits(n);
    size_t zeros = 0;
    for (size_t i = 0; i < n; ++i) bits[i] = stream.payload[begins[l] + i / 8] >> (i % 8) & 1;
    for (const bool bit : bits) zeros += !bit;
    if (n % 8 != 0 && stream.payload[begins[l] + n / 8] >> n % 8 != 0) return {};
    if (stream.zeros[l] != static_cast<int64_t>(zeros)) return {};
    size_t at[2] = {0, zeros};
    below.resize(n);
    for (size_t i = 0; i < n; ++i) below[i] = merged[at[bits[i]]++];
  }
  const std::optional<Bytes> low =
      Unpack(stream.payload, stream.sizes, levels, begins[levels], stream.low, count);
  if (!low) return {};
  for (size_t i = 0; i < count; ++i) below[i] = static_cast<uint8_t>(below[i] << stream.low | (*low)[i]);
  return below;
}

// FORMAT 3.2 "The levels": codes leaf numbers whose codes have lengths[j] bits.
inline Stream HuffmanEncode(const Bytes& values, const Bytes& lengths) {
  struct Node {
    uint64_t code;  // its bits, the first one lowest
  };
  std::vector<uint64_t> codes;
  std::vector<Node> nodes(1, Node{0});
  for (unsigned l = 0; !nodes.empty(); ++l) {
    std::vector<Node> next;
    for (uint64_t bit = 0; bit < 2; ++bit) {
      for (const Node& node : nodes) {
        const uint64_t code = node.code | bit << l;
        if (next.empty() && codes.size() < lengths.size() && lengths[codes.size()] == l + 1) {
          codes.push_back(code);
        } else {
          next.push_back(Node{code});
        }
      }
    }
    nodes = next;
  }
  Stream stream;
  Ints counts(lengths.size());
  for (const uint8_t value : values) ++counts[value];
  int64_t start = 0;
  for (size_t j = 0; j + 1 < counts.size(); ++j) stream.starts.push_back(start += counts[j]);
  Bytes level = values;
  for (unsigned l = 0; l < lengths.back(); ++l) {
    Bytes bits((level.size() + 7) / 8), parts[2];
    for (size_t i = 0; i < level.size(); ++i) {
      const unsigned bit = codes[level[i]] >> l & 1;
      bits[i / 8] |= static_cast<uint8_t>(bit << i % 8);
      parts[bit].push_back(level[i]);
    }
    int64_t ended = 0;
    for (size_t j = 0; j < lengths.size(); ++j) ended += lengths[j] == l + 1 ? counts[j] : 0;
    stream.payload.insert(stream.payload.end(), bits.begin(), bits.end());
    stream.sizes.push_back(static_cast<int64_t>(bits.size()));
    stream.zeros.push_back(static_cast<int64_t>(parts[0].size()));
    stream.leaves.push_back(ended);
    parts[0].insert(parts[0].end(), parts[1].begin(), parts[1].end());
    level.assign(parts[0].begin() + ended, parts[0].end());
  }
  return stream;
}

}  // namespace reference

#endif  // ONNXSQUEEZE_TESTS_CODEC_REFERENCE_H_
