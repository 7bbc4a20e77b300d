#include "crescendo/io/pickle_value.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// Classes whose dicts hold all that there is to them.
constexpr std::array<std::string_view, 3> kReadDicts = {"collections.OrderedDict", "argparse.Namespace",
                                                        "types.SimpleNamespace"};

}  // namespace

template <class T>
const T& PickleValue::get(const char* expected) const {
  const T* found = content_ ? std::get_if<T>(content_.get()) : nullptr;
  check(found != nullptr, "pickle: expected ", expected, ", got ", kind_name());
  return *found;
}

const char* PickleValue::kind_name() const {
  switch (kind_) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInt:
      return "an int";
    case Kind::kBigInt:
      return "an int beyond 64 bits";
    case Kind::kFloat:
      return "a float";
    case Kind::kString:
      return "a string";
    case Kind::kBytes:
      return "bytes";
    case Kind::kList:
      return "a list";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kSet:
      return "a set";
    case Kind::kDict:
      return "a dict";
    case Kind::kTensor:
      return "a tensor";
    case Kind::kForeign:
      return "a foreign object";
  }
  return "?";
}

bool PickleValue::as_bool() const { return get<bool>("a bool"); }
int64_t PickleValue::as_int() const { return get<int64_t>("an int"); }
double PickleValue::as_number() const {
  return kind_ == Kind::kInt ? static_cast<double>(as_int()) : get<double>("a number");
}
const std::string& PickleValue::as_string() const { return get<std::string>("a string"); }
const PickleValue::List& PickleValue::items() const { return get<List>("a list"); }
const PickleValue::Dict& PickleValue::entries() const { return get<DictBody>("a dict").entries; }
const std::string& PickleValue::type_name() const { return get<DictBody>("a dict").type_name; }
const Tensor& PickleValue::as_tensor() const { return get<Tensor>("a tensor"); }

const PickleValue* PickleValue::find(std::string_view key) const {
  if (kind_ != Kind::kDict) return nullptr;
  for (const auto& [name, value] : entries())
    if (name.kind_ == Kind::kString && name.as_string() == key) return &value;
  return nullptr;
}

void PickleValue::count_foreign(std::map<std::string, int64_t>& counts, std::set<const void*>& seen) const {
  const bool container = is(Kind::kDict) || is(Kind::kList) || is(Kind::kTuple) || is(Kind::kSet);
  if ((!container && !is(Kind::kForeign)) || !seen.insert(content_.get()).second) return;
  if (is(Kind::kForeign)) {
    ++counts[as_string()];
  } else if (is(Kind::kDict)) {
    const std::string& type = type_name();
    if (!type.empty() && std::find(kReadDicts.begin(), kReadDicts.end(), type) == kReadDicts.end()) ++counts[type];
    for (const auto& [key, value] : entries()) {
      key.count_foreign(counts, seen);
      value.count_foreign(counts, seen);
    }
  } else {
    for (const auto& item : items()) item.count_foreign(counts, seen);
  }
}

std::map<std::string, int64_t> foreign_classes(const PickleValue& value) {
  std::map<std::string, int64_t> counts;
  std::set<const void*> seen;
  value.count_foreign(counts, seen);
  return counts;
}

PickleValue PickleValue::state_dict(const TensorMap& tensors) {
  Dict entries;
  for (const auto& [name, value] : tensors) entries.emplace_back(string(name), tensor(value));
  return dict(std::move(entries), "collections.OrderedDict");
}

PickleValue PickleValue::from_json(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return {};
    case Json::value_t::boolean:
      return boolean(json.get<bool>());
    case Json::value_t::number_unsigned:
      check(json.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX), "pickle: ", json_text(json),
            " is too large an int");
      [[fallthrough]];
    case Json::value_t::number_integer:
      return integer(json.get<int64_t>());
    case Json::value_t::number_float:
      return number(json.get<double>());
    case Json::value_t::string:
      return string(json.get<std::string>());
    case Json::value_t::array: {
      List items;
      for (const auto& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::value_t::object: {
      Dict entries;
      for (const auto& [key, value] : json.items()) entries.emplace_back(string(key), from_json(value));
      return dict(std::move(entries));
    }
    default:
      fail("pickle: JSON of type ", json.type_name(), " has no Python form");
  }
}

namespace {

// JSON has no NaN and no infinities.
Json number_to_json(double number) {
  if (std::isfinite(number)) return number;
  return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
}

Json tensor_to_json(const Tensor& tensor) {
  if (tensor.defined() && tensor.dim() == 0 && tensor.scalar_type() == at::kDouble)
    return number_to_json(*tensor.data_ptr<double>());
  return Json::object({{"tensor", describe_tensor(tensor)}});
}

// Shared branches are written out once per use, so a small pickle can stand for a huge text: hence the budget.
Json to_json_within(const PickleValue& value, size_t& budget) {
  const size_t cost = value.is(PickleValue::Kind::kString) || value.is(PickleValue::Kind::kBytes) ||
                              value.is(PickleValue::Kind::kBigInt) || value.is(PickleValue::Kind::kForeign)
                          ? value.as_string().size() + 1
                          : 1;
  check(cost <= budget, "pickle: the data is too large to be shown as JSON");
  budget -= cost;
  using Kind = PickleValue::Kind;
  switch (value.kind()) {
    case Kind::kNone:
      return nullptr;
    case Kind::kBool:
      return value.as_bool();
    case Kind::kInt:
      return value.as_int();
    case Kind::kFloat:
      return number_to_json(value.as_number());
    case Kind::kString:
    case Kind::kBytes:
    case Kind::kBigInt:
      return value.as_string();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet: {
      Json out = Json::array();
      for (const auto& item : value.items()) out.push_back(to_json_within(item, budget));
      return out;
    }
    case Kind::kDict: {
      // An ordered JSON object looks its keys up one by one. Keys that give the same text (1 and "1"): the later wins.
      const size_t lookups = value.entries().size() * value.entries().size() / 100;
      check(lookups <= budget, "pickle: a dict is too large to be shown as JSON");
      budget -= lookups;
      Json out = Json::object();
      for (const auto& [key, item] : value.entries()) {
        std::string name = key.is(Kind::kString) ? key.as_string() : json_text(to_json_within(key, budget));
        out[std::move(name)] = to_json_within(item, budget);
      }
      return out;
    }
    case Kind::kTensor:
      return tensor_to_json(value.as_tensor());
    case Kind::kForeign:
      return Json::object({{"object", value.as_string()}});
  }
  fail("pickle: value of unknown kind");
}

}  // namespace

Json to_json(const PickleValue& value) {
  size_t budget = 1'000'000;
  return to_json_within(value, budget);
}

}  // namespace crescendo
