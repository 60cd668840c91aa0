// The library against plain references: the worked examples of FORMAT.md, round trips, and corrupted input.
//
//   codec_test [rounds [seed]]    Exits with 0 where all is well. ONNXSQUEEZE_ISA picks the instruction set.
#include "codec.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "codec_random.h"
#include "codec_reference.h"
#include "codec_weights.h"

namespace {

struct Result {
  int status;
  Bytes values;
};

osq_huffman View(const Stream& stream, const Exact<uint8_t>& payload) {
  return osq_huffman{payload.data(),       stream.payload.size(),
                     stream.sizes.data(),  stream.sizes.size(),
                     stream.zeros.data(),  stream.leaves.data(),
                     stream.leaves.size(), stream.starts.data(),
                     stream.starts.size(), stream.low};
}

Result Decode(const Stream& stream, size_t count, int threads) {
  const Exact<uint8_t> payload(stream.payload), values(count);
  const osq_huffman view = View(stream, payload);
  const int status = osq_huffman_decode(&view, count, threads, values.data());
  return {status, status == OSQ_OK ? values.vector() : Bytes()};
}

Result Encode(const Bytes& leaves, const Bytes& lengths, size_t parts, Stream* stream) {
  const Exact<uint8_t> values(leaves);
  const Exact<uint64_t> counts(256 * parts);
  CHECK(osq_count_bytes(values.data(), leaves.size(), parts, counts.data()) == OSQ_OK);
  *stream = Stream();
  for (Ints* list : {&stream->sizes, &stream->zeros, &stream->leaves}) list->resize(lengths.back());
  stream->starts.resize(lengths.size() - 1);
  const int status =
      osq_huffman_sizes(counts.data(), parts, lengths.data(), lengths.size(), stream->sizes.data());
  if (status != OSQ_OK) return {status, {}};
  const Exact<uint8_t> payload(std::accumulate(stream->sizes.begin(), stream->sizes.end(), size_t{0}));
  const size_t bytes = std::accumulate(stream->sizes.begin(), stream->sizes.end(), size_t{0});
  const int coded = osq_huffman_encode(values.data(), leaves.size(), counts.data(), parts, lengths.data(),
                                       lengths.size(), payload.data(), bytes, stream->zeros.data(),
                                       stream->leaves.data(), stream->starts.data());
  stream->payload = payload.vector();
  return {coded, stream->payload};
}

// Appends the low bits, as the caller of the encoder does.
void AddLow(const Bytes& low_values, int low, Stream* stream) {
  const Bytes planes = reference::Pack(low_values, low);
  for (const int width : reference::PlaneWidths(low)) {
    stream->sizes.push_back(static_cast<int64_t>(width * ((low_values.size() + 7) / 8)));
  }
  stream->payload.insert(stream->payload.end(), planes.begin(), planes.end());
  stream->low = low;
}

void TestExamples() {
  const Bytes packed = {0x36, 0x00, 0x05}, values = {5, 2, 7};
  const int64_t sizes[] = {2, 1};
  uint8_t payload[3], back[3];
  CHECK(osq_pack(values.data(), 3, 3, payload, 3) == OSQ_OK && std::memcmp(payload, packed.data(), 3) == 0);
  CHECK(osq_unpack(packed.data(), 3, sizes, 2, 3, 3, back) == OSQ_OK &&
        std::memcmp(back, values.data(), 3) == 0);
  Stream stream;
  CHECK(Encode({0, 1, 0, 2, 0, 1}, {1, 2, 2}, 2, &stream).status == OSQ_OK);
  CHECK(stream.payload == Bytes({0x2A, 0x02}) && stream.sizes == Ints({1, 1}) &&
        stream.zeros == Ints({3, 2}));
  CHECK(stream.leaves == Ints({3, 3}) && stream.starts == Ints({3, 5}));
  CHECK(Decode(stream, 6, 1).values == Bytes({0, 1, 0, 2, 0, 1}));
}

void TestErrors() {
  for (int status = 0; status >= -40; --status) CHECK(std::strlen(osq_error(status)) > 0);
  CHECK(std::strlen(osq_isa()) > 0);
}

size_t RandomCount(Random* random) {
  const size_t largest[] = {3, 20, 100, 700, 5000, 70000};
  return random->Between(1, largest[random->Below(6)]);
}

void TestPacked(Random* random) {
  const int k = static_cast<int>(random->Between(1, 8));
  const size_t count = random->Chance(20) ? 0 : RandomCount(random), blocks = (count + 7) / 8;
  const Bytes values = random->BytesBelow(count, size_t{1} << k);
  const Exact<uint8_t> from(values), payload(k * blocks);
  CHECK(osq_pack(from.data(), count, k, payload.data(), k * blocks) == OSQ_OK);
  CHECK(payload.vector() == reference::Pack(values, k));
  Ints sizes;
  for (const int width : reference::PlaneWidths(k)) sizes.push_back(static_cast<int64_t>(width * blocks));
  if (random->Chance(3))
    sizes[random->Below(sizes.size())] += static_cast<int64_t>(random->Between(0, 2)) - 1;
  if (random->Chance(10)) sizes.pop_back();
  const size_t claimed = random->Chance(3) ? random->Between(count < 9 ? 0 : count - 9, count + 9) : count;
  const Exact<uint8_t> out(claimed);
  const int status =
      osq_unpack(payload.data(), k * blocks, sizes.data(), sizes.size(), k, claimed, out.data());
  const auto expected = reference::Unpack(payload.vector(), sizes, 0, 0, k, claimed);
  CHECK((status == OSQ_OK) == expected.has_value());
  if (expected) CHECK(out.vector() == *expected);
  if (count > 0 && k < 8) {
    from.data()[random->Below(count)] = static_cast<uint8_t>(1 << k);
    CHECK(osq_pack(from.data(), count, k, payload.data(), k * blocks) == OSQ_VALUE);
  }
}

// Changes one thing about a stream; what is meant to be refused, or to decode to something else.
void Corrupt(Random* random, Stream* stream, size_t* count) {
  Ints* const lists[] = {&stream->sizes, &stream->zeros, &stream->leaves, &stream->starts};
  Ints& list = *lists[random->Below(4)];
  const int64_t odd[] = {
      -1, 0, 1, 255, 1 << 28, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  switch (random->Below(9)) {
    case 0:
    case 1:
    case 2:
      if (!stream->payload.empty())
        stream->payload[random->Below(stream->payload.size())] ^= 1 << random->Below(8);
      break;
    case 3:
      stream->payload.resize(random->Below(stream->payload.size() + 1));
      break;
    case 4:
      if (!list.empty()) list[random->Below(list.size())] = odd[random->Below(7)];
      break;
    case 5:
      if (!list.empty()) {
        int64_t& entry = list[random->Below(list.size())];
        entry = static_cast<int64_t>(static_cast<uint64_t>(entry) + (random->Chance(2) ? 1 : UINT64_MAX));
      }
      break;
    case 6:
      list.resize(random->Below(list.size() + 3), static_cast<int64_t>(random->Below(*count + 2)));
      break;
    case 7:
      *count = random->Chance(2) ? *count + random->Below(9) : random->Below(*count + 1);
      break;
    default:
      stream->low = static_cast<int>(random->Below(9));
      break;
  }
  if (stream->zeros.size() != stream->leaves.size()) stream->zeros.resize(stream->leaves.size());
}

// Sets every level's bits at random, and `zeros` to fit: passes all checks, but follows no code.
void Scramble(Random* random, size_t count, Stream* stream) {
  size_t at = 0, elements = count;
  for (size_t l = 0; l < stream->leaves.size(); ++l) {
    size_t ones = 0;
    const auto bytes = static_cast<size_t>(stream->sizes[l]);
    for (size_t i = 0; i < elements; ++i) {
      const unsigned bit = static_cast<unsigned>(random->Below(2));
      uint8_t& byte = stream->payload[at + i / 8];
      byte = static_cast<uint8_t>((byte & ~(1u << i % 8)) | bit << i % 8);
      ones += bit;
    }
    stream->zeros[l] = static_cast<int64_t>(elements - ones);
    elements -= static_cast<size_t>(stream->leaves[l]);
    at += bytes;
  }
}

void ExpectDecodes(const Stream& stream, size_t count) {
  const auto expected = reference::HuffmanDecode(stream, count);
  for (const int threads : {1, 3}) {
    const Result found = Decode(stream, count, threads);
    CHECK((found.status == OSQ_OK) == expected.has_value());
    if (expected) CHECK(found.values == *expected);
  }
}

void TestHuffman(Random* random, size_t count) {
  const int low = static_cast<int>(random->Below(8));
  const size_t most = std::min<size_t>(256 >> low, count);
  if (most < 2) return;
  const Bytes lengths =
      RandomCode(random, random->Between(2, random->Chance(2) ? most : std::min<size_t>(most, 9)));
  const Bytes leaves = RandomLeaves(random, lengths, count);
  Stream stream, again;
  CHECK(Encode(leaves, lengths, 1, &stream).status == OSQ_OK);
  CHECK(Encode(leaves, lengths, 3, &again).status == OSQ_OK);
  const Stream plain = reference::HuffmanEncode(leaves, lengths);
  for (const Stream* other : {static_cast<const Stream*>(&again), &plain}) {
    CHECK(stream.payload == other->payload && stream.sizes == other->sizes && stream.zeros == other->zeros);
    CHECK(stream.leaves == other->leaves && stream.starts == other->starts);
  }
  CHECK(Decode(stream, count, 1).values == leaves);
  if (low > 0) AddLow(random->BytesBelow(count, size_t{1} << low), low, &stream);
  ExpectDecodes(stream, count);
  Stream scrambled = stream;
  Scramble(random, count, &scrambled);
  ExpectDecodes(scrambled, count);
  for (int i = 0; i < 12; ++i) {
    Stream corrupt = random->Chance(4) ? scrambled : stream;
    size_t claimed = count;
    for (size_t changes = random->Between(1, 2); changes > 0; --changes) Corrupt(random, &corrupt, &claimed);
    ExpectDecodes(corrupt, claimed);
  }
}

// Counts and lengths that describe no code, or other values: a status, and nothing out of bounds.
void TestEncoderRefusals(Random* random) {
  const size_t count = random->Chance(8) ? 200000 : random->Between(2, 3000), parts = random->Between(1, 3);
  const size_t leaves = random->Between(2, std::min<size_t>(count, 256));
  Bytes lengths = RandomCode(random, leaves);
  const Bytes values = RandomLeaves(random, lengths, count);
  const Exact<uint8_t> exact(values);
  Exact<uint64_t> counts(256 * parts);
  CHECK(osq_count_bytes(exact.data(), count, parts, counts.data()) == OSQ_OK);
  if (random->Chance(2)) lengths[random->Below(leaves)] = static_cast<uint8_t>(random->Below(16));
  if (random->Chance(2)) {
    --counts.data()[random->Below(256 * parts)];
    ++counts.data()[random->Below(256 * parts)];
  }
  const Exact<uint8_t> exact_lengths(lengths);
  const size_t levels = std::max<size_t>(1, lengths.back());
  Exact<int64_t> sizes(levels), zeros(levels), ends(levels), starts(leaves - 1);
  if (osq_huffman_sizes(counts.data(), parts, exact_lengths.data(), leaves, sizes.data()) != OSQ_OK) return;
  const Ints found = sizes.vector();
  const size_t bytes = std::accumulate(found.begin(), found.end(), size_t{0});
  const Exact<uint8_t> payload(bytes);
  const int status =
      osq_huffman_encode(exact.data(), count, counts.data(), parts, exact_lengths.data(), leaves,
                         payload.data(), bytes, zeros.data(), ends.data(), starts.data());
  if (status != OSQ_OK) return;
  Stream stream{payload.vector(), found, zeros.vector(), ends.vector(), starts.vector(), 0};
  CHECK(Decode(stream, count, 1).values == values);
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 300;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  TestExamples();
  TestErrors();
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestPacked(&random);
    TestHuffman(&random, RandomCount(&random));
    TestEncoderRefusals(&random);
    TestWeights(&random);
  }
  Random random(seed);
  for (const size_t count : {size_t{600001}, size_t{1} << 20}) TestHuffman(&random, count);
  std::printf("codec_test: %ld rounds pass on %s\n", rounds, osq_isa());
  return 0;
}
