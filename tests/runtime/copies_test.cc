// The search for copies: what it finds lies inside the old bytes, adds up to the new ones, and misses nothing
// that is plainly there.
//
//   copies_test [rounds [seed]]    Exits with 0 where all is well.
#include <algorithm>
#include <cstdio>
#include <string_view>

#include "codec.h"
#include "codec_random.h"
#include "suffixes.h"

namespace {

std::string_view Text(const Bytes& bytes, size_t from) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).substr(from);
}

void TestSuffixes(Random* random) {
  const Bytes bytes = random->BytesBelow(random->Below(400), random->Chance(3) ? 2 : random->Between(1, 256));
  const std::vector<int32_t> sorted = osq::SortSuffixes(bytes.data(), bytes.size());
  CHECK(sorted.size() == bytes.size());
  for (size_t i = 1; i < sorted.size(); ++i) {
    CHECK(sorted[i] >= 0 && sorted[i] < static_cast<int32_t>(bytes.size()));
    CHECK(Text(bytes, sorted[i - 1]) < Text(bytes, sorted[i]));
  }
}

// The old bytes with parts moved, left out and put in.
Bytes Edited(const Bytes& old, Random* random) {
  Bytes made = old;
  for (size_t edits = random->Below(6); edits > 0; --edits) {
    const size_t at = random->Below(made.size() + 1), size = random->Below(80);
    const Bytes added = random->BytesBelow(size, 256);
    if (random->Chance(2)) {
      made.insert(made.begin() + static_cast<ptrdiff_t>(at), added.begin(), added.end());
    } else {
      const size_t end = std::min(made.size(), at + size);
      std::rotate(made.begin(), made.begin() + static_cast<ptrdiff_t>(at),
                  made.begin() + static_cast<ptrdiff_t>(end));
    }
  }
  return made;
}

void TestCopies(Random* random) {
  const Bytes old_bytes = random->BytesBelow(random->Below(2000), random->Chance(3) ? 2 : 256);
  const Bytes new_bytes = Edited(old_bytes, random);
  const Exact<uint8_t> old_exact(old_bytes), new_exact(new_bytes);
  osq_old* old = nullptr;
  CHECK(osq_old_make(old_exact.data(), old_bytes.size(), &old) == OSQ_OK);
  std::vector<osq_copy> copies(new_bytes.size() / 8 + 2);
  size_t made = 0, at = 0;
  CHECK(osq_old_copies(old, new_exact.data(), new_bytes.size(), copies.data(), copies.size(), &made) ==
        OSQ_OK);
  CHECK(made <= copies.size());
  for (size_t i = 0; i < made; ++i) {
    CHECK(copies[i].bytes == 0 || copies[i].from + copies[i].bytes <= old_bytes.size());
    at += copies[i].bytes + copies[i].extra;
  }
  CHECK(at == new_bytes.size());
  if (new_bytes == old_bytes && at > 0) CHECK(made == 1 && copies[0].from == 0 && copies[0].bytes == at);
  osq_old_free(old);
}

void TestRefusals() {
  osq_old* old = nullptr;
  const uint8_t byte = 0;
  osq_copy copies[2];
  size_t made = 0;
  CHECK(osq_old_make(nullptr, 1, &old) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_make(&byte, 1, nullptr) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_make(&byte, size_t{1} << 40, &old) == OSQ_TOO_LARGE);
  CHECK(osq_old_make(&byte, 1, &old) == OSQ_OK);
  CHECK(osq_old_copies(nullptr, &byte, 1, copies, 2, &made) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_copies(old, nullptr, 1, copies, 2, &made) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_copies(old, &byte, 1, nullptr, 2, &made) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_copies(old, &byte, 1, copies, 1, &made) == OSQ_BAD_ARGUMENT);
  CHECK(osq_old_copies(old, &byte, 1, copies, 2, nullptr) == OSQ_BAD_ARGUMENT);
  osq_old_free(old);
  osq_old_free(nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 300;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  TestRefusals();
  for (long i = 0; i < rounds; ++i) {
    Random random(seed * 1000003 + static_cast<uint64_t>(i));
    TestSuffixes(&random);
    TestCopies(&random);
  }
  std::printf("copies_test: %ld rounds pass\n", rounds);
  return 0;
}
