// The coder of updates: what is written is read, and damaged bytes give a status and nothing out of bounds.
//
//   delta_test [rounds [seed]]    Exits with 0 where all is well.
#include <cstdio>
#include <cstring>

#include "codec.h"
#include "codec_random.h"

namespace {

constexpr int kTypes[] = {OSQ_FLOAT, OSQ_FLOAT16, OSQ_DOUBLE, OSQ_UINT8, OSQ_UINT16, OSQ_UINT32, OSQ_UINT64};

size_t SizeOf(int type) {
  switch (type) {
    case OSQ_UINT8:
      return 1;
    case OSQ_FLOAT16:
    case OSQ_UINT16:
      return 2;
    case OSQ_FLOAT:
    case OSQ_UINT32:
      return 4;
    default:
      return 8;
  }
}

// One array: the bytes of the new and the old one, and how it is told to the coder.
struct Array {
  int type;
  size_t count, width;
  Bytes now, old;
};

struct Coded {
  Bytes coded, plain;
};

// Arrays of all types, from unchanged to unrelated.
Array RandomArray(Random* random) {
  Array array;
  array.type = kTypes[random->Below(std::size(kTypes))];
  array.count = random->Chance(10) ? random->Below(3) : random->Below(3000);
  array.width = random->Chance(8) ? ~size_t{0} : random->Between(1, 100);
  const size_t bytes = array.count * SizeOf(array.type);
  array.old = random->BytesBelow(bytes, random->Between(1, 256));
  array.now = array.old;
  const size_t in = random->Chance(4) ? 1 : random->Between(1, 50);
  for (uint8_t& byte : array.now)
    if (random->Chance(in))
      byte = static_cast<uint8_t>(byte + random->Between(1, random->Chance(2) ? 2 : 255));
  if (random->Chance(6)) array.now = array.old;
  return array;
}

int Code(osq_delta* delta, const Array& array, Bytes* values) {
  // Aligned as NumPy's arrays are; the size is exact.
  const Exact<uint64_t> now((values->size() + 7) / 8), old((array.old.size() + 7) / 8);
  auto* const now_bytes = reinterpret_cast<uint8_t*>(now.data());
  std::copy(values->begin(), values->end(), now_bytes);
  std::copy(array.old.begin(), array.old.end(), reinterpret_cast<uint8_t*>(old.data()));
  const int status = osq_delta_code(delta, now.data(), old.data(), array.count, array.width, array.type);
  values->assign(now_bytes, now_bytes + values->size());
  return status;
}

Coded Write(const std::vector<Array>& arrays) {
  osq_delta* delta = nullptr;
  CHECK(osq_delta_encoder(&delta) == OSQ_OK);
  for (const Array& array : arrays) {
    Bytes values = array.now;
    CHECK(Code(delta, array, &values) == OSQ_OK && values == array.now);
  }
  size_t coded = 0, plain = 0;
  CHECK(osq_delta_end(delta, &coded, &plain) == OSQ_OK);
  const Exact<uint8_t> coded_bytes(coded), plain_bytes(plain);
  CHECK(osq_delta_take(delta, coded_bytes.data(), plain_bytes.data()) == OSQ_OK);
  osq_delta_free(delta);
  return {coded_bytes.vector(), plain_bytes.vector()};
}

// Whether the arrays are read as they were; damaged bytes may give others, or a status.
bool Read(const std::vector<Array>& arrays, const Coded& from) {
  const Exact<uint8_t> coded(from.coded), plain(from.plain);
  osq_delta* delta = nullptr;
  CHECK(osq_delta_decoder(coded.data(), from.coded.size(), plain.data(), from.plain.size(), &delta) ==
        OSQ_OK);
  bool same = true;
  int status = OSQ_OK;
  for (size_t i = 0; i < arrays.size() && status == OSQ_OK; ++i) {
    Bytes values(arrays[i].now.size());
    status = Code(delta, arrays[i], &values);
    CHECK(status == OSQ_OK || status == OSQ_DELTA_SHORT);
    same = same && values == arrays[i].now;
  }
  if (status == OSQ_OK) {
    status = osq_delta_end(delta, nullptr, nullptr);
    CHECK(status == OSQ_OK || status == OSQ_DELTA_LONG || status == OSQ_DELTA_SHORT);
  }
  osq_delta_free(delta);
  return same && status == OSQ_OK;
}

void TestRoundTrips(Random* random) {
  std::vector<Array> arrays(random->Between(0, 4));
  for (Array& array : arrays) array = RandomArray(random);
  const Coded coded = Write(arrays);
  CHECK(Read(arrays, coded));
  for (int i = 0; i < 8; ++i) {
    Coded damaged = coded;
    Bytes& bytes = random->Chance(2) ? damaged.coded : damaged.plain;
    if (bytes.empty() || random->Chance(4)) {
      bytes.push_back(static_cast<uint8_t>(random->Below(256)));
      CHECK(!Read(arrays, damaged));
    } else if (random->Chance(2)) {
      bytes.resize(random->Below(bytes.size()));
      CHECK(!Read(arrays, damaged));
    } else {
      bytes[random->Below(bytes.size())] ^= static_cast<uint8_t>(1 << random->Below(8));
      Read(arrays, damaged);
    }
  }
}

void TestRefusals() {
  osq_delta* delta = nullptr;
  uint8_t byte = 0;
  CHECK(osq_delta_encoder(nullptr) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_decoder(nullptr, 1, nullptr, 0, &delta) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_decoder(&byte, 1, nullptr, 1, &delta) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_encoder(&delta) == OSQ_OK);
  CHECK(osq_delta_code(nullptr, &byte, &byte, 1, 1, OSQ_UINT8) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_code(delta, nullptr, &byte, 1, 1, OSQ_UINT8) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_code(delta, &byte, nullptr, 1, 1, OSQ_UINT8) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_code(delta, &byte, &byte, 1, 0, OSQ_UINT8) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_code(delta, &byte, &byte, 1, 1, 99) == OSQ_BAD_ARGUMENT);
  CHECK(osq_delta_end(delta, nullptr, nullptr) == OSQ_BAD_ARGUMENT);
  osq_delta_free(delta);
  osq_delta_free(nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 40;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  TestRefusals();
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestRoundTrips(&random);
  }
  std::printf("delta_test: %ld rounds pass\n", rounds);
  return 0;
}
