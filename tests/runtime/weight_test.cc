// Whole weights: nodes of every layout against their definition, and the same nodes corrupted.
//
//   weight_test [rounds [seed]]    Exits with 0 where all is well.
#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "codec.h"
#include "codec_random.h"

namespace {

enum { kFloat = 1, kUint8 = 2, kFloat16 = 10, kDouble = 11 };

struct Input {
  Bytes bytes;
  int type;
};

// A node, and the weight that it must decode to.
struct Node {
  std::string op_type;
  std::map<std::string, Ints> attributes;
  std::vector<Input> inputs;
  int type = kFloat;
  Bytes weight;
};

size_t ItemSize(int type) { return type == kUint8 ? 1 : type == kFloat16 ? 2 : type == kDouble ? 8 : 4; }

template <typename T>
Bytes BytesOf(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> Ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.25f * static_cast<float>(i) - 1;
  return values;
}

void AddPacked(Node* node, const char* prefix, const Bytes& values, int bits) {
  node->inputs.push_back({reference::Pack(values, bits), kUint8});
  const int64_t blocks = static_cast<int64_t>((values.size() + 7) / 8);
  for (const int width : reference::PlaneWidths(bits)) {
    node->attributes[std::string(prefix) + "_sizes"].push_back(width * blocks);
  }
}

// [rows, columns] of 3-bit indices, scaled by column, as double.
Node DenseNode(Random* random) {
  const size_t rows = random->Between(1, 20), columns = random->Between(1, 20), count = rows * columns;
  Node node{"Dense_P3_S_C", {}, {}, kDouble, {}};
  if (count % 8 != 0) node.op_type += "_T";
  const Bytes indices = random->BytesBelow(count, 8), codes = random->BytesBelow(columns, 3);
  const std::vector<float> codebook = Ramp(8), table = {0.5f, 1, 3};
  node.inputs.push_back({BytesOf(codebook), kFloat});
  AddPacked(&node, "v", indices, 3);
  node.inputs.push_back({BytesOf(table), kFloat});
  node.inputs.push_back({codes, kUint8});
  node.attributes["shape"] = {static_cast<int64_t>(rows), static_cast<int64_t>(columns)};
  node.attributes["scale_shape"] = {1, static_cast<int64_t>(columns)};
  node.attributes["total"] = {static_cast<int64_t>(count)};
  node.attributes["to"] = {kDouble};
  std::vector<double> weight(count);
  for (size_t i = 0; i < count; ++i) weight[i] = codebook[indices[i]] * table[codes[i % columns]];
  node.weight = BytesOf(weight);
  return node;
}

// The worked example of FORMAT 3.2.
Node HuffmanNode() {
  Node node{"Dense_H2_T", {}, {}, kFloat, {}};
  node.inputs = {{BytesOf(Ramp(3)), kFloat}, {{0x2A, 0x02}, kUint8}};
  node.attributes = {{"shape", {6}},      {"total", {6}},       {"v_sizes", {1, 1}},
                     {"v_zeros", {3, 2}}, {"v_leaves", {3, 3}}, {"v_starts", {3, 5}}};
  node.weight = BytesOf(std::vector<float>{-1, -0.75f, -1, -0.5f, -1, -0.75f});
  return node;
}

Node GapsNode(Random* random) {
  Node node{"Gaps_P4_Raw16", {}, {}, kFloat16, {}};
  const size_t entries = random->Between(1, 40);
  Bytes distances = random->BytesBelow(entries, 15);
  for (uint8_t& distance : distances) ++distance;
  const size_t last = std::accumulate(distances.begin(), distances.end(), size_t{0});
  const size_t total = last + random->Between(1, 30);
  std::vector<uint16_t> values(entries), weight(total);
  size_t position = 0;
  for (size_t i = 0; i < entries; ++i) {
    position += distances[i];
    weight[position] = values[i] = static_cast<uint16_t>(random->Below(30000));
  }
  AddPacked(&node, "p", distances, 4);
  node.inputs.push_back({BytesOf(values), kFloat16});
  node.attributes["shape"] = node.attributes["total"] = {static_cast<int64_t>(total)};
  node.attributes["entries"] = {static_cast<int64_t>(entries)};
  node.weight = BytesOf(weight);
  return node;
}

// 2:4 along the first of two dimensions.
Node GroupedNode(Random* random) {
  const size_t columns = random->Between(1, 9), groups = random->Between(1, 6), rows = 4 * groups;
  Node node{"NM_P2_P4", {}, {}, kFloat, {}};
  Bytes positions, indices = random->BytesBelow(2 * groups * columns, 16);
  const std::vector<float> codebook = Ramp(16);
  std::vector<float> weight(rows * columns);
  for (size_t i = 0; i < groups * columns; ++i) {
    const size_t first = random->Below(3), second = random->Between(first + 1, 3);
    positions.insert(positions.end(), {static_cast<uint8_t>(first), static_cast<uint8_t>(second)});
    const size_t column = i / groups, row = i % groups * 4;
    weight[(row + first) * columns + column] = codebook[indices[2 * i]];
    weight[(row + second) * columns + column] = codebook[indices[2 * i + 1]];
  }
  AddPacked(&node, "p", positions, 2);
  node.inputs.push_back({BytesOf(codebook), kFloat});
  AddPacked(&node, "v", indices, 4);
  const int64_t all = static_cast<int64_t>(groups * columns);
  node.attributes["shape"] = {static_cast<int64_t>(rows), static_cast<int64_t>(columns)};
  node.attributes["moved"] = {static_cast<int64_t>(columns), static_cast<int64_t>(rows)};
  node.attributes["perm"] = {1, 0};
  node.attributes["groups"] = {all, 4};
  node.attributes["kept"] = {all, 2};
  node.attributes["entries"] = {2 * all};
  node.weight = BytesOf(weight);
  return node;
}

Node FillNode(Random* random) {
  const size_t count = random->Between(1, 50);
  Node node{"Fill", {{"shape", {static_cast<int64_t>(count)}}}, {}, kFloat, {}};
  node.inputs.push_back({BytesOf(std::vector<float>{2.5f}), kFloat});
  node.weight = BytesOf(std::vector<float>(count, 2.5f));
  return node;
}

// Opens and decodes; `weight` receives what comes out.
int Decode(const Node& node, Bytes* weight) {
  std::vector<osq_attribute> attributes;
  for (const auto& [name, values] : node.attributes) {
    attributes.push_back({name.c_str(), values.data(), values.size()});
  }
  std::vector<std::unique_ptr<Exact<uint8_t>>> memory;
  std::vector<osq_vector> inputs;
  for (const Input& input : node.inputs) {
    const size_t count = input.bytes.size() / ItemSize(input.type);
    Bytes aligned(input.bytes.begin(), input.bytes.begin() + count * ItemSize(input.type));
    memory.push_back(std::make_unique<Exact<uint8_t>>(aligned));
    inputs.push_back({memory.back()->data(), count, input.type});
  }
  const osq_node view{node.op_type.c_str(), attributes.data(), attributes.size(), inputs.data(),
                      inputs.size()};
  int type = 0;
  size_t total = 0;
  if (const int status = osq_open_node(&view, &type, &total)) return status;
  if (total > 1 << 20) return OSQ_TOO_LARGE;  // legal, and too much for a test
  for (const char* op_type : {"MatMul", "Conv", "Gather", "Relu"}) {
    const char* kernel = nullptr;
    CHECK(osq_choose_kernel(&view, op_type, -1, 1, "auto", "", &kernel) == OSQ_OK && kernel != nullptr);
    const int often = osq_choose_kernel(&view, op_type, 1, 1, "often", "", &kernel);
    CHECK(often == OSQ_BAD_ARGUMENT || *kernel == '\0');
  }
  const Exact<uint8_t> out(total * ItemSize(type));
  const int status = osq_decode_node(&view, 2, type, total, out.data());
  CHECK(osq_decode_node(&view, 1, type, total + 1, out.data()) == OSQ_BAD_ARGUMENT);
  if (status == OSQ_OK) *weight = out.vector();
  return status;
}

void CorruptAttribute(Random* random, Node* node) {
  auto chosen = node->attributes.begin();
  std::advance(chosen, random->Below(node->attributes.size()));
  Ints& values = chosen->second;
  const int64_t odd[] = {-1, 0, 1, 2, 255, 256, 1 << 28, (1 << 28) - 1, INT64_MAX, INT64_MIN};
  switch (random->Below(4)) {
    case 0:
      node->attributes.erase(chosen);
      break;
    case 1:
      values.resize(random->Below(4));
      break;
    case 2:
      values.push_back(odd[random->Below(10)]);
      break;
    default:
      if (!values.empty()) values[random->Below(values.size())] = odd[random->Below(10)];
  }
}

void Corrupt(Random* random, Node* node) {
  const size_t kind = random->Below(6);
  if (kind < 2 && !node->attributes.empty()) return CorruptAttribute(random, node);
  if (kind == 2) {
    node->op_type[random->Below(node->op_type.size())] = "PHLSCT_0123489"[random->Below(14)];
    return;
  }
  if (node->inputs.empty()) return;
  Input& input = node->inputs[random->Below(node->inputs.size())];
  if (kind == 3) {
    input.bytes.resize(random->Below(input.bytes.size() + 9));
  } else if (kind == 4) {
    const int types[] = {kFloat, kUint8, kFloat16, kDouble, 0};
    input.type = types[random->Below(5)];
  } else if (!input.bytes.empty()) {
    input.bytes[random->Below(input.bytes.size())] ^= static_cast<uint8_t>(1u << random->Below(8));
  }
}

void TestNode(Random* random, const Node& node) {
  Bytes weight;
  const int status = Decode(node, &weight);
  if (status != OSQ_OK) std::fprintf(stderr, "%s: %s\n", node.op_type.c_str(), osq_error(status));
  CHECK(status == OSQ_OK && weight == node.weight);
  for (int i = 0; i < 60; ++i) {
    Node corrupt = node;
    for (size_t changes = random->Between(1, 3); changes > 0; --changes) Corrupt(random, &corrupt);
    Decode(corrupt, &weight);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 200;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestNode(&random, DenseNode(&random));
    TestNode(&random, HuffmanNode());
    TestNode(&random, GapsNode(&random));
    TestNode(&random, GroupedNode(&random));
    TestNode(&random, FillNode(&random));
  }
  std::printf("weight_test: %ld rounds pass on %s\n", rounds, osq_isa());
  return 0;
}
