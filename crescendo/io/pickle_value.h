// What a pickle holds, as data: an immutable tree of bounded depth that may share branches but has no cycle.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

class PickleValue {
 public:
  using List = std::vector<PickleValue>;
  using Dict = std::vector<std::pair<PickleValue, PickleValue>>;  // in the order of insertion
  // kBigInt is an int beyond 64 bits, kept as text "0x1950a8...".
  // kForeign is an object, class or function that is not read: all that is known of it is its name.
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kBigInt,
    kFloat,
    kString,
    kBytes,
    kList,
    kTuple,
    kSet,
    kDict,
    kTensor,
    kForeign
  };

  PickleValue() = default;  // None
  static PickleValue boolean(bool value) { return {Kind::kBool, value}; }
  static PickleValue integer(int64_t value) { return {Kind::kInt, value}; }
  static PickleValue number(double value) { return {Kind::kFloat, value}; }
  static PickleValue string(std::string value) { return {Kind::kString, std::move(value)}; }
  static PickleValue text(Kind kind, std::string value) { return {kind, std::move(value)}; }
  static PickleValue list(List items, Kind kind = Kind::kList) { return {kind, std::move(items)}; }
  // `type_name` is the class in Python: "" for dict, "collections.OrderedDict", "argparse.Namespace" (its attributes),
  // or a foreign class that acts as a dict, such as "collections.defaultdict".
  static PickleValue dict(Dict entries, std::string type_name = "") {
    return {Kind::kDict, DictBody{std::move(entries), std::move(type_name)}};
  }
  static PickleValue tensor(Tensor value) { return {Kind::kTensor, std::move(value)}; }
  // An OrderedDict of name -> tensor: a state dict.
  static PickleValue state_dict(const TensorMap& tensors);
  // Objects become dicts, whole numbers int, the others float.
  static PickleValue from_json(const Json& json);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  const char* kind_name() const;

  // The content; asking for another kind than kind() is an error.
  bool as_bool() const;
  int64_t as_int() const;
  double as_number() const;              // also of an int
  const std::string& as_string() const;  // of kString, kBytes, kBigInt; the name of kForeign
  const List& items() const;             // of kList, kTuple, kSet
  const Dict& entries() const;
  const std::string& type_name() const;  // of kDict
  const Tensor& as_tensor() const;

  // The value of a string key; null where this is no dict or lacks the key.
  const PickleValue* find(std::string_view key) const;

 private:
  struct DictBody {
    Dict entries;
    std::string type_name;
  };
  using Content = std::variant<std::monostate, bool, int64_t, double, std::string, List, DictBody, Tensor>;
  PickleValue(Kind kind, Content content)
      : kind_(kind), content_(std::make_shared<const Content>(std::move(content))) {}
  template <class T>
  const T& get(const char* expected) const;
  void count_foreign(std::map<std::string, int64_t>& counts, std::set<const void*>& seen) const;
  friend std::map<std::string, int64_t> foreign_classes(const PickleValue& value);

  Kind kind_ = Kind::kNone;
  std::shared_ptr<const Content> content_;  // shared between copies; null for None
};

// The foreign classes and functions in it, and how many objects each stands for. Shared branches count once.
std::map<std::string, int64_t> foreign_classes(const PickleValue& value);

// The value as JSON: tensors become {"tensor": "float32 [3, 4]"} (a single float64 the number), foreign objects
// {"object": "pathlib.PosixPath"}, sets and tuples lists, keys text. Numbers that JSON lacks (NaN, infinities) become
// text. Fails on values whose written-out form is unreasonably large.
Json to_json(const PickleValue& value);

}  // namespace crescendo
