// The values of a pickle while its instructions are carried out: one flat array in which containers name their items by
// place, so that no input makes a reader or a destructor recurse. Everything that could grow out of proportion to the
// input is counted here.
#pragma once

#include <unordered_map>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/io/pickle.h"

namespace crescendo::pickle {

using Id = uint32_t;  // place of a value in the arena

// What a global does when it is called, or where it may stand.
enum class Global {
  kOrderedDict,
  kNamespace,
  kSet,
  kFrozenSet,
  kBytes,
  kObject,
  kReconstructor,
  kStorage,
  kUntypedStorage,
  kUnreadStorage,
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kRebuildFromType,
  kRebuildFromNumpy,
  kTorchSize,
  kTorchDevice,
  kNumpyScalar,
  kNumpyDtype,
  kNumpyArray,
  kCodecsEncode,
  kForeign,
};

struct Value {
  enum class Kind : uint8_t {
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
    kFrozenSet,
    kDict,
    kGlobal,
    kNumpyDtype,  // text: "f8"; integer: 1 where big-endian
    kTensor,
    kStorage,  // a tensor of one dimension; integer: 1 where it is bytes without a type
    kForeign,  // integer: its class (class_name()). tensor: the content of a NumPy array
  };
  Kind kind = Kind::kNone;
  Global global = Global::kObject;
  union {
    int64_t integer = 0;  // also the dtype of a storage's global
    double number;
  };
  std::string text;       // string, bytes, name of a global, class of a dict
  std::vector<Id> items;  // of containers; key, value, key, value of a dict
  Tensor tensor;
};
using Kind = Value::Kind;

class Arena {
 public:
  Arena(const Bytes& input, const PickleOptions& options) : input_(input), options_(options) {}

  // Errors name the file and the byte of the instruction.
  size_t op_begin = 0;
  template <class... Args>
  [[noreturn]] void broken(Args&&... args) const {
    fail(input_.name, ": pickle, byte ", op_begin, ": ", std::forward<Args>(args)...);
  }
  template <class... Args>
  void must(bool ok, Args&&... args) const {
    if (!ok) [[unlikely]]
      broken(std::forward<Args>(args)...);
  }
  const PickleOptions& options() const { return options_; }

  Id make(Kind kind);
  Id make_bool(bool value);
  Id make_int(int64_t value);
  Id make_float(double value);
  Id make_text(Kind kind, std::string text);  // by value: it may come from the array that make() moves
  Id make_items(Kind kind, std::vector<Id> items);
  Id make_tensor(Kind kind, Tensor tensor);
  Id make_foreign(const std::string& class_name);

  // References hold until the next make.
  Value& operator[](Id id) { return values_[id]; }
  const Value& operator[](Id id) const { return values_[id]; }

  // Of a foreign object. Kept once for all of a class: a few bytes of input make an object.
  const std::string& class_name(Id id) const { return class_names_[static_cast<size_t>(values_[id].integer)]; }

  // The content, where the value has the right kind; `what` names it in the error.
  int64_t int_of(Id id, const char* what) const;
  const std::string& string_of(Id id, const char* what) const;
  const std::vector<Id>& items_of(Id id, const char* what) const;  // of a tuple or list
  std::vector<int64_t> ints_of(Id id, const char* what) const;

  // A foreign object forgets what it is given; only items under keys make a dict of it.
  void append(Id list, const std::vector<Id>& items);
  void add(Id set, const std::vector<Id>& items);
  void set_items(Id dict, const std::vector<Id>& keys_and_values);

  // The value and all below it as a tree.
  PickleValue finish(Id root) const;

 private:
  void extend(Id target, const std::vector<Id>& items);
  void charge(size_t items);
  PickleValue converted(const Value& from, const std::unordered_map<Id, PickleValue>& done) const;
  PickleValue converted_dict(const Value& from, const std::unordered_map<Id, PickleValue>& done) const;

  const Bytes& input_;
  const PickleOptions& options_;
  std::vector<Value> values_;
  std::vector<std::string> class_names_;
  std::unordered_map<std::string, int64_t> class_index_;
  size_t text_bytes_ = 0, items_copied_ = 0;
};

}  // namespace crescendo::pickle
