// Operator names (FORMAT 2).
#include <cstring>

#include "weight.h"

namespace osq {
namespace {

// Reads a name from left to right.
class Reader {
 public:
  explicit Reader(const std::string& text) : at_(text.c_str()) {}

  bool Take(const char* word) {
    const size_t length = std::strlen(word);
    if (std::strncmp(at_, word, length) != 0) return false;
    at_ += length;
    return true;
  }

  // A number without leading zeros, from `low` to `high`.
  bool Number(int low, int high, int* value) {
    if (*at_ < '1' || *at_ > '9') return false;
    int number = 0;
    for (; *at_ >= '0' && *at_ <= '9' && number <= high; ++at_) number = 10 * number + (*at_ - '0');
    *value = number;
    return number >= low && number <= high;
  }

  bool Packed(StreamKind* kind) { return Take("P") && Number(1, 8, &kind->bits); }

  bool Stream(StreamKind* kind) {
    if (!Take("H")) return Packed(kind);
    return Number(1, 12, &kind->levels) && (!Take("L") || Number(1, 7, &kind->bits));
  }

  bool Values(Spec* spec) {
    if (!Take("Raw")) return Stream(&spec->values);
    spec->raw_type = Take("16") ? kFloat16 : Take("32") ? kFloat : Take("64") ? kDouble : 0;
    return spec->raw_type != 0;
  }

  bool done() const { return *at_ == '\0'; }

 private:
  const char* at_;
};

bool ParseLayout(Reader* reader, Spec* spec) {
  if (reader->Take("Dense_")) {
    spec->layout = Spec::kDense;
    return reader->Stream(&spec->values);
  }
  if (reader->Take("Gaps_")) {
    spec->layout = Spec::kGaps;
    return reader->Stream(&spec->positions) && reader->Take("_") && reader->Values(spec);
  }
  if (reader->Take("NM_")) {
    spec->layout = Spec::kNm;
    return reader->Packed(&spec->positions) && reader->Take("_") && reader->Values(spec);
  }
  return false;
}

}  // namespace

bool ParseName(const std::string& op_type, Spec* spec) {
  *spec = Spec();
  if (op_type == "Fill") return true;
  Reader reader(op_type);
  if (!ParseLayout(&reader, spec)) return false;
  spec->scaled = reader.Take("_S");
  spec->converted = reader.Take("_C");
  spec->tail = spec->layout == Spec::kDense && reader.Take("_T");
  const bool only_float = spec->raw_type == kFloat16 || spec->raw_type == kDouble;
  return reader.done() && !(only_float && (spec->scaled || spec->converted));
}

std::vector<std::string> InputNames(const Spec& spec) {
  if (spec.layout == Spec::kFill) return {"value"};
  std::vector<std::string> names;
  if (spec.layout != Spec::kDense) names.push_back("p");
  if (spec.raw_type != 0) {
    names.push_back("values");
  } else {
    names.insert(names.end(), {"codebook", "v"});
  }
  if (spec.scaled) names.insert(names.end(), {"scales", "channels"});
  return names;
}

}  // namespace osq
