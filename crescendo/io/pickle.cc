#include "crescendo/io/pickle.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "crescendo/core/check.h"

namespace crescendo {

//----------------------------------------------------------------------------
// Values

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
      check(json.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX), "pickle: ", json.dump(), " is too large an int");
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

// Shared branches are written out once per use, so a small pickle can stand for a huge text: hence the budget.
Json to_json_within(const PickleValue& value, size_t& budget) {
  const size_t cost = value.is(PickleValue::Kind::kString) || value.is(PickleValue::Kind::kBytes) ||
                              value.is(PickleValue::Kind::kBigInt)
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
    case Kind::kFloat: {
      const double number = value.as_number();
      if (std::isfinite(number)) return number;
      return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
    }
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
        std::string name = key.is(Kind::kString)
                               ? key.as_string()
                               : to_json_within(key, budget).dump(-1, ' ', false, Json::error_handler_t::replace);
        out[std::move(name)] = to_json_within(item, budget);
      }
      return out;
    }
    case Kind::kTensor:
      return Json::object({{"tensor", describe_tensor(value.as_tensor())}});
  }
  fail("pickle: value of unknown kind");
}

}  // namespace

Json to_json(const PickleValue& value) {
  size_t budget = 50'000'000;
  return to_json_within(value, budget);
}

//----------------------------------------------------------------------------
// Reading

namespace {

enum Opcode : unsigned char {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kFloatText = 'F',
  kIntText = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kLongText = 'L',
  kBinInt2 = 'M',
  kNone = 'N',
  kPersId = 'P',
  kBinPersId = 'Q',
  kReduce = 'R',
  kStringText = 'S',
  kBinString = 'T',
  kShortBinString = 'U',
  kUnicodeText = 'V',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kGet = 'g',
  kBinGet = 'h',
  kInst = 'i',
  kLongBinGet = 'j',
  kList = 'l',
  kObj = 'o',
  kPut = 'p',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinFloat = 'G',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

constexpr size_t kMaxIntBytes = 1024;
constexpr int64_t kMaxExpanded = int64_t{1} << 24;  // elements of a tensor that repeats its storage (stride 0)

struct NamedDtype {
  std::string_view name;
  at::ScalarType dtype;
};
constexpr std::array kStorageTypes = {
    NamedDtype{"DoubleStorage", at::kDouble}, NamedDtype{"FloatStorage", at::kFloat},
    NamedDtype{"HalfStorage", at::kHalf},     NamedDtype{"BFloat16Storage", at::kBFloat16},
    NamedDtype{"LongStorage", at::kLong},     NamedDtype{"IntStorage", at::kInt},
    NamedDtype{"ShortStorage", at::kShort},   NamedDtype{"CharStorage", at::kChar},
    NamedDtype{"ByteStorage", at::kByte},     NamedDtype{"BoolStorage", at::kBool},
};
constexpr std::array<std::string_view, 22> kTorchDtypes = {
    "float64",   "double",    "float32",    "float", "float16", "half",  "bfloat16", "int64",
    "long",      "int32",     "int",        "int16", "short",   "int8",  "uint8",    "bool",
    "complex32", "complex64", "complex128", "qint8", "quint8",  "qint32"};

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
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildParameter,
  kTorchSize,
  kTorchDevice,
  kNumpyScalar,
  kNumpyDtype,
  kCodecsEncode,
};
struct KnownGlobal {
  std::string_view name;
  Global global;
};
// Python 2 called the module of the built-ins __builtin__, and protocols 0 to 2 still do.
constexpr std::array kGlobals = {
    KnownGlobal{"collections.OrderedDict", Global::kOrderedDict},
    KnownGlobal{"argparse.Namespace", Global::kNamespace},
    KnownGlobal{"builtins.set", Global::kSet},
    KnownGlobal{"__builtin__.set", Global::kSet},
    KnownGlobal{"builtins.frozenset", Global::kFrozenSet},
    KnownGlobal{"__builtin__.frozenset", Global::kFrozenSet},
    KnownGlobal{"builtins.bytes", Global::kBytes},
    KnownGlobal{"__builtin__.bytes", Global::kBytes},
    KnownGlobal{"builtins.object", Global::kObject},
    KnownGlobal{"__builtin__.object", Global::kObject},
    KnownGlobal{"copyreg._reconstructor", Global::kReconstructor},
    KnownGlobal{"copy_reg._reconstructor", Global::kReconstructor},
    KnownGlobal{"torch._utils._rebuild_tensor", Global::kRebuildTensor},
    KnownGlobal{"torch._utils._rebuild_tensor_v2", Global::kRebuildTensorV2},
    KnownGlobal{"torch._utils._rebuild_parameter", Global::kRebuildParameter},
    KnownGlobal{"torch.Size", Global::kTorchSize},
    KnownGlobal{"torch.device", Global::kTorchDevice},
    KnownGlobal{"numpy.core.multiarray.scalar", Global::kNumpyScalar},
    KnownGlobal{"numpy._core.multiarray.scalar", Global::kNumpyScalar},
    KnownGlobal{"numpy.dtype", Global::kNumpyDtype},
    KnownGlobal{"_codecs.encode", Global::kCodecsEncode},
};

using Id = uint32_t;  // place of a value in the machine's array

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
    kTensor,      // also a storage: a tensor of one dimension
  };
  Kind kind = Kind::kNone;
  Global global = Global::kObject;
  bool is_storage = false;
  union {
    int64_t integer = 0;
    double number;
  };
  std::string text;       // string, bytes, name of a global, class of a dict
  std::vector<Id> items;  // of containers; key, value, key, value of a dict
  Tensor tensor;
};

class Machine {
 public:
  Machine(const Bytes& bytes, const PickleOptions& options) : bytes_(bytes), options_(options) {}

  PickleValue run() {
    while (step()) {
    }
    must(stack_.size() == 1 && marks_.empty(), "it ends with ", stack_.size(), " values in place of one");
    return finish(stack_.back());
  }
  size_t position() const { return at_; }

 private:
  using Kind = Value::Kind;

  template <class... Args>
  [[noreturn]] void broken(Args&&... args) const {
    fail(bytes_.name, ": pickle, byte ", op_at_, ": ", std::forward<Args>(args)...);
  }
  template <class... Args>
  void must(bool ok, Args&&... args) const {
    if (!ok) [[unlikely]]
      broken(std::forward<Args>(args)...);
  }

  // Input.
  std::string_view take(size_t size) {
    must(size <= bytes_.size() - at_, "it is cut short");
    const std::string_view out(reinterpret_cast<const char*>(bytes_.data.data()) + at_, size);
    at_ += size;
    return out;
  }
  template <class T>
  T take_le() {
    must(sizeof(T) <= bytes_.size() - at_, "it is cut short");
    const T value = load_le<T>(bytes_.data, at_);
    at_ += sizeof(T);
    return value;
  }
  std::string_view take_sized(uint64_t size) {
    must(size <= bytes_.size() - at_, "a string of ", size, " bytes leaves the file");
    return take(static_cast<size_t>(size));
  }
  std::string_view take_line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data.data()) + at_, bytes_.size() - at_);
    const size_t end = rest.find('\n');
    must(end != std::string_view::npos, "it is cut short");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // Values.
  Id make(Kind kind) {
    must(values_.size() < options_.max_values, "it has more than ", options_.max_values, " values");
    values_.emplace_back().kind = kind;
    return static_cast<Id>(values_.size() - 1);
  }
  void push(Id id) { stack_.push_back(id); }
  void push_int(int64_t value) {
    const Id id = make(Kind::kInt);
    values_[id].integer = value;
    push(id);
  }
  void push_bool(bool value) {
    const Id id = make(Kind::kBool);
    values_[id].integer = value;
    push(id);
  }
  void push_float(double value) {
    const Id id = make(Kind::kFloat);
    values_[id].number = value;
    push(id);
  }
  // Takes the text by value: it may come from the array that make() moves.
  Id make_text(Kind kind, std::string text) {
    text_bytes_ += text.size();
    must(text_bytes_ <= 8 * bytes_.size() + 65536, "its strings are copied too often");
    const Id id = make(kind);
    values_[id].text = std::move(text);
    return id;
  }
  // Instructions of a few bytes can copy whole containers, again and again.
  void charge(size_t items) {
    items_copied_ += items;
    must(items_copied_ <= 4 * options_.max_values, "its containers hold too many items");
  }
  void push_text(Kind kind, std::string text) { push(make_text(kind, std::move(text))); }
  void push_text(Kind kind, std::string_view text) { push_text(kind, std::string(text)); }
  void push_text(Kind kind, const char* text) { push_text(kind, std::string(text)); }
  void push_items(Kind kind, std::vector<Id> items) {
    charge(items.size());
    const Id id = make(kind);
    values_[id].items = std::move(items);
    push(id);
  }
  // Values above the last mark are the mark's; nothing below it may be taken.
  Id pop() {
    must(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "it takes a value from an empty stack");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() const {
    must(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "it looks at an empty stack");
    return stack_.back();
  }
  std::vector<Id> pop_to_mark() {
    must(!marks_.empty(), "a mark is missing");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_n(size_t n) {
    std::vector<Id> items(n);
    for (size_t i = n; i-- > 0;) items[i] = pop();
    return items;
  }
  void memoize(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    const auto it = memo_.find(key);
    must(it != memo_.end(), "it recalls value ", key, ", which was never kept");
    push(it->second);
  }

  // Arguments of calls.
  const Value& value(Id id) const { return values_[id]; }
  int64_t int_of(Id id, const char* what) const {
    must(value(id).kind == Kind::kInt, what, " must be an int");
    return value(id).integer;
  }
  const std::string& string_of(Id id, const char* what) const {
    must(value(id).kind == Kind::kString, what, " must be a string");
    return value(id).text;
  }
  const std::vector<Id>& items_of(Id id, const char* what) const {
    const Kind kind = value(id).kind;
    must(kind == Kind::kTuple || kind == Kind::kList, what, " must be a tuple");
    return value(id).items;
  }
  std::vector<int64_t> ints_of(Id id, const char* what) const {
    std::vector<int64_t> out;
    const auto& items = items_of(id, what);
    must(items.size() <= 64, what, " has more than 64 dimensions");
    for (const Id item : items) out.push_back(int_of(item, what));
    return out;
  }

  void append_to(Id target, const std::vector<Id>& items) {
    must(value(target).kind == Kind::kList, "it appends to what is no list");
    charge(items.size());
    auto& to = values_[target].items;
    to.insert(to.end(), items.begin(), items.end());
  }
  void set_items(Id target, const std::vector<Id>& items) {
    must(value(target).kind == Kind::kDict, "it sets an item of what is no dict");
    must(items.size() % 2 == 0, "a key without a value");
    charge(items.size());
    auto& to = values_[target].items;
    to.insert(to.end(), items.begin(), items.end());
  }

  void push_global(std::string_view module, std::string_view name) {
    const std::string full = std::string(module) + "." + std::string(name);
    for (const auto& known : kGlobals)
      if (full == known.name) {
        const Id id = make_text(Kind::kGlobal, full);
        values_[id].global = known.global;
        return push(id);
      }
    if (module == "torch" || module == "torch.cuda")
      for (const auto& known : kStorageTypes)
        if (name == known.name) {
          const Id id = make_text(Kind::kGlobal, full);
          values_[id].global = Global::kStorage;
          values_[id].integer = static_cast<int64_t>(known.dtype);
          return push(id);
        }
    if (module == "torch" && std::find(kTorchDtypes.begin(), kTorchDtypes.end(), name) != kTorchDtypes.end())
      return push_text(Kind::kString, full);
    broken("it refers to '", full, "'; only tensors and plain data are read");
  }

  // ('storage', type, key, location, numel[, (view key, offset, numel)])
  void push_persistent(Id id) {
    must(options_.load_storage != nullptr, "a reference to a storage where there is none");
    must(value(id).kind == Kind::kTuple, "a persistent id must be a tuple");
    const auto& items = value(id).items;
    must((items.size() == 5 || items.size() == 6) && string_of(items[0], "a persistent id's tag") == "storage",
         "a persistent id must be ('storage', type, key, location, numel)");
    const Value& type = value(items[1]);
    must(type.kind == Kind::kGlobal && type.global == Global::kStorage, "a persistent id needs a storage type");
    StorageId storage;
    storage.dtype = static_cast<at::ScalarType>(type.integer);
    storage.key = string_of(items[2], "the key of a storage");
    storage.location = string_of(items[3], "the location of a storage");
    storage.numel = int_of(items[4], "the size of a storage");
    must(storage.numel >= 0 && checked_bytes(storage.numel, storage.dtype), "a storage of ", storage.numel,
         " elements cannot be");
    if (items.size() == 6 && value(items[5]).kind != Kind::kNone) {
      const auto& view = items_of(items[5], "the view of a storage");
      must(view.size() == 3, "the view of a storage must be (key, offset, numel)");
      storage.is_view = true;
      storage.view_key = string_of(view[0], "the key of a view");
      storage.view_offset = int_of(view[1], "the offset of a view");
      storage.view_numel = int_of(view[2], "the size of a view");
      must(storage.view_offset >= 0 && storage.view_numel >= 0 && storage.view_offset <= storage.numel &&
               storage.view_numel <= storage.numel - storage.view_offset,
           "the view of a storage leaves it");
    }
    const Id out = make(Kind::kTensor);
    values_[out].is_storage = true;
    values_[out].tensor = options_.load_storage(storage);
    push(out);
  }

  // A tensor over a storage; every element it can reach must lie inside.
  void push_tensor(Id storage_id, Id offset_id, Id sizes_id, Id strides_id) {
    const Value& storage = value(storage_id);
    must(storage.kind == Kind::kTensor && storage.is_storage, "a tensor must stand on a storage");
    const int64_t offset = int_of(offset_id, "the offset of a tensor");
    const auto sizes = ints_of(sizes_id, "the shape of a tensor");
    const auto strides = ints_of(strides_id, "the strides of a tensor");
    must(sizes.size() == strides.size(), "a tensor has ", sizes.size(), " sizes and ", strides.size(), " strides");
    const auto numel = checked_numel(sizes);
    must(numel.has_value(), "a tensor has a negative size or more elements than 63 bits can count");
    must(offset >= 0, "a tensor has the negative offset ", offset);
    int64_t last = offset;  // the furthest element
    for (size_t i = 0; i < sizes.size(); ++i) {
      int64_t reach = 0;
      must(strides[i] >= 0, "a tensor has the negative stride ", strides[i]);
      if (*numel == 0) continue;
      must(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) && !__builtin_add_overflow(last, reach, &last),
           "a tensor leaves its storage");
    }
    const Id out = make(Kind::kTensor);
    const Tensor& base = values_[storage_id].tensor;
    if (base.defined()) {
      must(*numel == 0 ? offset <= base.numel() : last < base.numel(), "a tensor of ", *numel, " elements at offset ",
           offset, " leaves its storage of ", base.numel());
      must(*numel <= std::max(base.numel(), kMaxExpanded), "a tensor of ", *numel, " elements over a storage of ",
           base.numel());
      values_[out].tensor =
          *numel == 0 ? at::empty(sizes, base.options()) : at::as_strided(base, sizes, strides, offset);
    }
    push(out);
  }

  void push_ordered_dict(const std::vector<Id>& arguments) {
    const Id out = make_text(Kind::kDict, "collections.OrderedDict");
    must(arguments.size() <= 1, "OrderedDict takes a list of pairs");
    if (!arguments.empty())
      for (const Id pair : items_of(arguments[0], "the argument of OrderedDict")) {
        const auto entry = items_of(pair, "an entry of OrderedDict");
        must(entry.size() == 2, "an entry of OrderedDict must be a pair");
        set_items(out, entry);
      }
    push(out);
  }

  void push_numpy_scalar(Id dtype_id, Id bytes_id) {
    const Value& dtype = value(dtype_id);
    must(dtype.kind == Kind::kNumpyDtype && value(bytes_id).kind == Kind::kBytes, "a NumPy scalar is damaged");
    std::string raw = value(bytes_id).text;
    must(dtype.text.size() == 2 && raw.size() == static_cast<size_t>(dtype.text[1] - '0'), "a NumPy scalar of type '",
         dtype.text, "' has ", raw.size(), " bytes");
    if (dtype.integer) std::reverse(raw.begin(), raw.end());
    const auto as = [&]<class T>(T) { return load_le<T>(std::as_bytes(std::span(raw.data(), raw.size())), 0); };
    const std::string code = dtype.text;
    if (code == "f8") return push_float(as(double{}));
    if (code == "f4") return push_float(as(float{}));
    if (code == "f2") return push_float(static_cast<float>(c10::Half(as(uint16_t{}), c10::Half::from_bits())));
    if (code == "b1") return push_bool(raw[0] != 0);
    if (code == "i1") return push_int(as(int8_t{}));
    if (code == "i2") return push_int(as(int16_t{}));
    if (code == "i4") return push_int(as(int32_t{}));
    if (code == "i8") return push_int(as(int64_t{}));
    if (code == "u1") return push_int(as(uint8_t{}));
    if (code == "u2") return push_int(as(uint16_t{}));
    if (code == "u4") return push_int(as(uint32_t{}));
    if (code == "u8") {
      must(as(uint64_t{}) <= static_cast<uint64_t>(INT64_MAX), "a NumPy scalar does not fit in 63 bits");
      return push_int(static_cast<int64_t>(as(uint64_t{})));
    }
    broken("a NumPy scalar has dtype '", code, "'");
  }

  // The calls that are carried out; each only builds data.
  void call(Id callee, Id arguments_id) {
    must(value(callee).kind == Kind::kGlobal, "it calls what is no known function");
    must(value(arguments_id).kind == Kind::kTuple, "the arguments of a call must be a tuple");
    const std::vector<Id> arguments = value(arguments_id).items;
    const Global global = value(callee).global;
    const std::string name = value(callee).text;
    const auto expect_count = [&](size_t low, size_t high) {
      must(arguments.size() >= low && arguments.size() <= high, name, " is called with ", arguments.size(),
           " arguments");
    };
    switch (global) {
      case Global::kOrderedDict:
        return push_ordered_dict(arguments);
      case Global::kNamespace:
        expect_count(0, 0);
        return push_text(Kind::kDict, name);
      case Global::kSet:
      case Global::kFrozenSet:
        expect_count(0, 1);
        return push_items(global == Global::kSet ? Kind::kSet : Kind::kFrozenSet,
                          arguments.empty() ? std::vector<Id>{} : items_of(arguments[0], "the items of a set"));
      case Global::kBytes:
        expect_count(0, 0);
        return push_text(Kind::kBytes, "");
      case Global::kReconstructor: {  // (class, object, None)
        expect_count(3, 3);
        const Value &type = value(arguments[0]), &base = value(arguments[1]);
        must(type.kind == Kind::kGlobal && type.global == Global::kNamespace && base.kind == Kind::kGlobal &&
                 base.global == Global::kObject && value(arguments[2]).kind == Kind::kNone,
             name, " may only make an argparse.Namespace");
        return push_text(Kind::kDict, std::string(type.text));
      }
      case Global::kRebuildTensor:
        expect_count(4, 4);
        return push_tensor(arguments[0], arguments[1], arguments[2], arguments[3]);
      case Global::kRebuildTensorV2:  // (.., requires_grad, backward_hooks[, metadata])
        expect_count(6, 7);
        return push_tensor(arguments[0], arguments[1], arguments[2], arguments[3]);
      case Global::kRebuildParameter:  // (tensor, requires_grad, backward_hooks)
        expect_count(3, 3);
        must(value(arguments[0]).kind == Kind::kTensor && !value(arguments[0]).is_storage,
             "a parameter must be made of a tensor");
        return push(arguments[0]);
      case Global::kTorchSize:
        expect_count(1, 1);
        return push_items(Kind::kTuple, items_of(arguments[0], "the argument of torch.Size"));
      case Global::kTorchDevice: {
        expect_count(1, 2);
        std::string device = string_of(arguments[0], "a device");
        if (arguments.size() == 2) device += ":" + std::to_string(int_of(arguments[1], "the index of a device"));
        return push_text(Kind::kString, device);
      }
      case Global::kNumpyScalar:
        expect_count(2, 2);
        return push_numpy_scalar(arguments[0], arguments[1]);
      case Global::kNumpyDtype: {
        expect_count(1, 3);
        const std::string code = string_of(arguments[0], "a NumPy dtype");
        must(code.size() == 2 && std::string_view("fiub").find(code[0]) != std::string_view::npos &&
                 std::string_view("1248").find(code[1]) != std::string_view::npos,
             "NumPy dtype '", code, "' is not supported");
        return push_text(Kind::kNumpyDtype, code);
      }
      case Global::kCodecsEncode: {  // how Python 3 writes bytes in protocol 2
        expect_count(2, 2);
        const std::string& encoding = string_of(arguments[1], "an encoding");
        must(encoding == "latin1" || encoding == "latin-1", "encoding '", encoding, "' is not supported");
        return push_text(Kind::kBytes, latin1_of(string_of(arguments[0], "encoded bytes")));
      }
      case Global::kObject:
      case Global::kStorage:
        break;
    }
    broken("it calls '", name, "', which only stands for a type here");
  }

  std::string latin1_of(const std::string& utf8) const {
    std::string out;
    for (size_t i = 0; i < utf8.size(); ++i) {
      const auto lead = static_cast<unsigned char>(utf8[i]);
      if (lead < 0x80) {
        out.push_back(utf8[i]);
        continue;
      }
      must((lead == 0xc2 || lead == 0xc3) && i + 1 < utf8.size() && (utf8[i + 1] & 0xc0) == 0x80,
           "bytes are written with characters above 255");
      out.push_back(static_cast<char>(((lead & 3) << 6) | (utf8[++i] & 0x3f)));
    }
    return out;
  }

  // object.__setstate__(state): attributes of a Namespace, byte order of a dtype. An OrderedDict's attributes
  // (_metadata of a state dict) carry nothing that is needed.
  void build() {
    const Id state = pop(), target = top();
    if (value(target).kind == Kind::kNumpyDtype) {
      const auto& items = items_of(state, "the state of a NumPy dtype");
      must(items.size() >= 2, "the state of a NumPy dtype is damaged");
      values_[target].integer = string_of(items[1], "a byte order") == ">";
      return;
    }
    must(value(target).kind == Kind::kDict && !value(target).text.empty(), "it sets the state of what has none");
    must(value(state).kind == Kind::kDict, "the state of a ", value(target).text, " must be a dict");
    if (value(target).text == "argparse.Namespace") set_items(target, std::vector<Id>(value(state).items));
  }

  void push_long(std::string_view raw) {
    must(raw.size() <= kMaxIntBytes, "an int of ", raw.size(), " bytes");
    // Little-endian two's complement; shorten what is only sign.
    const auto sign_of = [](char c) { return (c & 0x80) != 0; };
    while (raw.size() > 8 && (raw.back() == 0 || raw.back() == '\xff') &&
           sign_of(raw.back()) == sign_of(raw[raw.size() - 2]))
      raw.remove_suffix(1);
    const bool negative = !raw.empty() && sign_of(raw.back());
    if (raw.size() <= 8) {
      uint64_t bits = negative ? ~uint64_t{0} : 0;
      std::memcpy(&bits, raw.data(), raw.size());
      return push_int(static_cast<int64_t>(bits));
    }
    std::string magnitude(raw);
    if (negative) {
      unsigned carry = 1;
      for (char& c : magnitude) {
        carry += static_cast<unsigned char>(~c);
        c = static_cast<char>(carry);
        carry >>= 8;
      }
    }
    std::string text = negative ? "-0x" : "0x";
    bool leading = true;
    for (size_t i = magnitude.size() * 2; i-- > 0;) {
      const unsigned digit = (static_cast<unsigned char>(magnitude[i / 2]) >> (i % 2 ? 4 : 0)) & 15;
      leading = leading && digit == 0;
      if (!leading) text.push_back("0123456789abcdef"[digit]);
    }
    push_text(Kind::kBigInt, text);
  }

  // Decimal text of protocol 0: "12\n", "12L\n"; INT also writes bools, as "00" and "01".
  void push_int_text(std::string_view text, bool is_int) {
    if (is_int && (text == "00" || text == "01")) return push_bool(text == "01");
    if (text.ends_with('L')) text.remove_suffix(1);
    int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    must(error == std::errc() && end == text.data() + text.size() && !text.empty(), "'", text.substr(0, 40),
         "' is no int of 64 bits");
    push_int(out);
  }
  void push_float_text(std::string_view text) {
    double out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    must(error == std::errc() && end == text.data() + text.size() && !text.empty(), "'", text.substr(0, 40),
         "' is no float");
    push_float(out);
  }
  uint64_t memo_key(std::string_view text) const {
    uint64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    must(error == std::errc() && end == text.data() + text.size(), "'", text.substr(0, 40), "' is no memo key");
    return out;
  }

  static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  }
  // A quoted string with the escapes of Python's repr().
  std::string unquote(std::string_view text) const {
    must(text.size() >= 2 && (text[0] == '\'' || text[0] == '"') && text.back() == text[0], "a string has no quotes");
    text = text.substr(1, text.size() - 2);
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out.push_back(text[i]);
        continue;
      }
      must(++i < text.size(), "a string ends within an escape");
      switch (text[i]) {
        case 'n':
          out.push_back('\n');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 't':
          out.push_back('\t');
          break;
        case '\\':
        case '\'':
        case '"':
          out.push_back(text[i]);
          break;
        case 'x': {
          must(i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0,
               "a string has a damaged escape");
          out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
          i += 2;
          break;
        }
        default:
          broken("a string has the escape \\", text[i]);
      }
    }
    return out;
  }
  // Protocol 0 text: Latin-1 with \uXXXX and \UXXXXXXXX.
  std::string unescape_unicode(std::string_view text) const {
    std::string out;
    const auto put = [&](uint32_t code) {
      if (code < 0x80) {
        out.push_back(static_cast<char>(code));
      } else if (code < 0x800) {
        out.push_back(static_cast<char>(0xc0 | (code >> 6)));
        out.push_back(static_cast<char>(0x80 | (code & 63)));
      } else if (code < 0x10000) {
        out.push_back(static_cast<char>(0xe0 | (code >> 12)));
        out.push_back(static_cast<char>(0x80 | ((code >> 6) & 63)));
        out.push_back(static_cast<char>(0x80 | (code & 63)));
      } else {
        out.push_back(static_cast<char>(0xf0 | (code >> 18)));
        out.push_back(static_cast<char>(0x80 | ((code >> 12) & 63)));
        out.push_back(static_cast<char>(0x80 | ((code >> 6) & 63)));
        out.push_back(static_cast<char>(0x80 | (code & 63)));
      }
    };
    for (size_t i = 0; i < text.size(); ++i) {
      const size_t digits = text.substr(i).starts_with("\\u") ? 4 : text.substr(i).starts_with("\\U") ? 8 : 0;
      if (digits == 0) {
        put(static_cast<unsigned char>(text[i]));
        continue;
      }
      must(text.size() - i - 2 >= digits, "a string ends within an escape");
      uint32_t code = 0;
      for (size_t k = 0; k < digits; ++k) {
        const int digit = hex_digit(text[i + 2 + k]);
        must(digit >= 0, "a string has a damaged escape");
        code = code * 16 + static_cast<uint32_t>(digit);
      }
      must(code < 0xd800 || (code > 0xdfff && code <= 0x10ffff), "a string has a character that is none");
      put(code);
      i += 1 + digits;
    }
    return out;
  }

  // Carries out one instruction; false at STOP.
  bool step() {
    op_at_ = at_;
    const auto op = static_cast<unsigned char>(take(1)[0]);
    switch (op) {
      case kProto: {
        const auto protocol = take_le<uint8_t>();
        must(protocol <= 5, "protocol ", int{protocol}, " is not known");
        break;
      }
      case kFrame: {
        const auto size = take_le<uint64_t>();
        must(size <= bytes_.size() - at_, "a frame of ", size, " bytes leaves the file");
        break;
      }
      case kStop:
        return false;

      case kMark:
        marks_.push_back(stack_.size());
        break;
      case kPop:
        // On an empty segment POP removes the mark itself, as Python does.
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        break;
      case kPopMark:
        pop_to_mark();
        break;
      case kDup:
        push(top());
        break;

      case kNone:
        push(make(Kind::kNone));
        break;
      case kNewTrue:
        push_bool(true);
        break;
      case kNewFalse:
        push_bool(false);
        break;
      case kBinInt:
        push_int(take_le<int32_t>());
        break;
      case kBinInt1:
        push_int(take_le<uint8_t>());
        break;
      case kBinInt2:
        push_int(take_le<uint16_t>());
        break;
      case kLong1:
        push_long(take(take_le<uint8_t>()));
        break;
      case kLong4:
        push_long(take_sized(take_le<uint32_t>()));
        break;
      case kIntText:
        push_int_text(take_line(), /*is_int=*/true);
        break;
      case kLongText:
        push_int_text(take_line(), /*is_int=*/false);
        break;
      case kFloatText:
        push_float_text(take_line());
        break;
      case kBinFloat:
        push_float(std::bit_cast<double>(__builtin_bswap64(take_le<uint64_t>())));
        break;

      case kStringText:
        push_text(Kind::kString, unquote(take_line()));
        break;
      case kUnicodeText:
        push_text(Kind::kString, unescape_unicode(take_line()));
        break;
      case kBinString:
      case kBinUnicode:
        push_text(Kind::kString, take_sized(take_le<uint32_t>()));
        break;
      case kShortBinString:
      case kShortBinUnicode:
        push_text(Kind::kString, take_sized(take_le<uint8_t>()));
        break;
      case kBinUnicode8:
        push_text(Kind::kString, take_sized(take_le<uint64_t>()));
        break;
      case kBinBytes:
        push_text(Kind::kBytes, take_sized(take_le<uint32_t>()));
        break;
      case kShortBinBytes:
        push_text(Kind::kBytes, take_sized(take_le<uint8_t>()));
        break;
      case kBinBytes8:
      case kByteArray8:
        push_text(Kind::kBytes, take_sized(take_le<uint64_t>()));
        break;

      case kEmptyList:
        push(make(Kind::kList));
        break;
      case kList:
        push_items(Kind::kList, pop_to_mark());
        break;
      case kAppend: {
        const Id item = pop();
        append_to(top(), {item});
        break;
      }
      case kAppends: {
        const auto items = pop_to_mark();
        append_to(top(), items);
        break;
      }
      case kEmptyTuple:
        push(make(Kind::kTuple));
        break;
      case kTuple:
        push_items(Kind::kTuple, pop_to_mark());
        break;
      case kTuple1:
        push_items(Kind::kTuple, pop_n(1));
        break;
      case kTuple2:
        push_items(Kind::kTuple, pop_n(2));
        break;
      case kTuple3:
        push_items(Kind::kTuple, pop_n(3));
        break;
      case kEmptyDict:
        push(make(Kind::kDict));
        break;
      case kDict: {
        const auto items = pop_to_mark();
        const Id id = make(Kind::kDict);
        set_items(id, items);
        push(id);
        break;
      }
      case kSetItem: {
        const auto items = pop_n(2);
        set_items(top(), items);
        break;
      }
      case kSetItems: {
        const auto items = pop_to_mark();
        set_items(top(), items);
        break;
      }
      case kEmptySet:
        push(make(Kind::kSet));
        break;
      case kAddItems: {
        const auto items = pop_to_mark();
        must(value(top()).kind == Kind::kSet, "it adds to what is no set");
        charge(items.size());
        auto& to = values_[top()].items;
        to.insert(to.end(), items.begin(), items.end());
        break;
      }
      case kFrozenSet:
        push_items(Kind::kFrozenSet, pop_to_mark());
        break;

      case kGlobal: {
        const auto module = take_line();
        push_global(module, take_line());
        break;
      }
      case kStackGlobal: {
        const Id name = pop(), module = pop();
        push_global(std::string(string_of(module, "a module")), std::string(string_of(name, "the name of a global")));
        break;
      }
      case kReduce:
      case kNewObj: {
        const Id arguments = pop(), callee = pop();
        call(callee, arguments);
        break;
      }
      case kNewObjEx: {
        const Id keywords = pop(), arguments = pop(), callee = pop();
        must(value(keywords).kind == Kind::kDict && value(keywords).items.empty(), "a call with keywords");
        call(callee, arguments);
        break;
      }
      case kInst: {
        const auto module = take_line();
        const auto name = take_line();
        push_items(Kind::kTuple, pop_to_mark());
        const Id arguments = pop();
        push_global(module, name);
        call(pop(), arguments);
        break;
      }
      case kObj: {
        auto items = pop_to_mark();
        must(!items.empty(), "an object without a class");
        const Id callee = items.front();
        items.erase(items.begin());
        push_items(Kind::kTuple, std::move(items));
        call(callee, pop());
        break;
      }
      case kBuild:
        build();
        break;

      case kPut:
        memoize(memo_key(take_line()));
        break;
      case kBinPut:
        memoize(take_le<uint8_t>());
        break;
      case kLongBinPut:
        memoize(take_le<uint32_t>());
        break;
      case kMemoize:
        memoize(memo_.size());
        break;
      case kGet:
        recall(memo_key(take_line()));
        break;
      case kBinGet:
        recall(take_le<uint8_t>());
        break;
      case kLongBinGet:
        recall(take_le<uint32_t>());
        break;

      case kBinPersId:
        push_persistent(pop());
        break;
      case kPersId:
        broken("a persistent id in text form");
      default:
        broken("instruction ", int{op}, " is not known or not allowed");
    }
    return true;
  }

  // The machine's values as a tree: depth-first without recursion. `state` tells a value that is being built (seeing it
  // again means that it contains itself) from one that is done (and may be shared).
  PickleValue finish(Id root) {
    enum : uint8_t { kNew, kOpen, kDone };
    std::vector<uint8_t> state(values_.size(), kNew);
    std::unordered_map<Id, PickleValue> done;
    struct Visit {
      Id id;
      size_t next;
    };
    std::vector<Visit> path{{root, 0}};
    state[root] = kOpen;
    while (!path.empty()) {
      Visit& visit = path.back();
      const auto& items = values_[visit.id].items;
      if (visit.next < items.size()) {
        const Id child = items[visit.next++];
        must(state[child] != kOpen, "a container contains itself");
        if (state[child] == kDone) continue;
        must(path.size() < options_.max_depth, "containers are nested more than ", options_.max_depth, " deep");
        state[child] = kOpen;
        path.push_back({child, 0});
        continue;
      }
      done.emplace(visit.id, converted(values_[visit.id], done));
      state[visit.id] = kDone;
      path.pop_back();
    }
    return done.at(root);
  }

  PickleValue converted(const Value& from, const std::unordered_map<Id, PickleValue>& done) const {
    using Out = PickleValue::Kind;
    const auto list = [&](Out kind) {
      PickleValue::List items;
      items.reserve(from.items.size());
      for (const Id item : from.items) items.push_back(done.at(item));
      return PickleValue::list(std::move(items), kind);
    };
    switch (from.kind) {
      case Kind::kNone:
        return {};
      case Kind::kBool:
        return PickleValue::boolean(from.integer != 0);
      case Kind::kInt:
        return PickleValue::integer(from.integer);
      case Kind::kBigInt:
        return PickleValue::text(Out::kBigInt, from.text);
      case Kind::kFloat:
        return PickleValue::number(from.number);
      case Kind::kString:
        return PickleValue::string(from.text);
      case Kind::kBytes:
        return PickleValue::text(Out::kBytes, from.text);
      case Kind::kList:
        return list(Out::kList);
      case Kind::kTuple:
        return list(Out::kTuple);
      case Kind::kSet:
      case Kind::kFrozenSet:
        return list(Out::kSet);
      case Kind::kDict: {
        PickleValue::Dict entries;
        entries.reserve(from.items.size() / 2);
        std::unordered_set<std::string_view> names;
        std::unordered_set<int64_t> numbers;
        for (size_t i = 0; i < from.items.size(); i += 2) {
          const Value& key = values_[from.items[i]];
          const bool hashable = key.kind == Kind::kNone || key.kind == Kind::kBool || key.kind == Kind::kInt ||
                                key.kind == Kind::kFloat || key.kind == Kind::kString || key.kind == Kind::kBytes ||
                                key.kind == Kind::kTuple || key.kind == Kind::kBigInt;
          check(hashable, bytes_.name, ": pickle: a dict has a key that is no plain value");
          if (key.kind == Kind::kString)
            check(names.insert(key.text).second, bytes_.name, ": pickle: a dict has the key '", key.text, "' twice");
          if (key.kind == Kind::kInt)
            check(numbers.insert(key.integer).second, bytes_.name, ": pickle: a dict has the key ", key.integer,
                  " twice");
          entries.emplace_back(done.at(from.items[i]), done.at(from.items[i + 1]));
        }
        return PickleValue::dict(std::move(entries), from.text);
      }
      case Kind::kTensor:
        return PickleValue::tensor(from.tensor);
      case Kind::kNumpyDtype:
        return PickleValue::string("numpy." + from.text);
      case Kind::kGlobal:
        break;
    }
    fail(bytes_.name, ": pickle: it holds '", from.text, "' itself as a value; only tensors and plain data are read");
  }

  const Bytes& bytes_;
  const PickleOptions& options_;
  size_t at_ = 0;     // next byte
  size_t op_at_ = 0;  // byte of the instruction that is carried out
  size_t text_bytes_ = 0, items_copied_ = 0;
  std::vector<Value> values_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;  // sizes of the stack at each MARK
  std::unordered_map<uint64_t, Id> memo_;
};

}  // namespace

PickleValue parse_pickle(const Bytes& bytes, const PickleOptions& options, size_t* consumed) {
  Machine machine(bytes, options);
  PickleValue value = machine.run();
  if (consumed)
    *consumed = machine.position();
  else
    check(machine.position() == bytes.size(), bytes.name, ": ", bytes.size() - machine.position(),
          " bytes after the end of the pickle");
  return value;
}

//----------------------------------------------------------------------------
// Writing

namespace {

class Writer {
 public:
  explicit Writer(const std::function<std::string(const Tensor&)>& add_storage) : add_storage_(add_storage) {}

  std::string run(const PickleValue& value) {
    op(kProto);
    out_ += '\x02';
    write(value, 0);
    op(kStop);
    return std::move(out_);
  }

 private:
  using Kind = PickleValue::Kind;

  void op(Opcode opcode) { out_ += static_cast<char>(opcode); }
  template <class T>
  void raw(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }

  // Names stand once in the stream and are recalled afterwards.
  void global(const std::string& module, const std::string& name) {
    const auto [it, inserted] = memo_.emplace(module + "." + name, memo_.size());
    if (!inserted) {
      op(kLongBinGet);
      return raw(static_cast<uint32_t>(it->second));
    }
    op(kGlobal);
    out_ += module + "\n" + name + "\n";
    op(kLongBinPut);
    raw(static_cast<uint32_t>(it->second));
  }
  void string(const std::string& text) {
    check(text.size() <= UINT32_MAX, "pickle: a string of ", text.size(), " bytes");
    op(kBinUnicode);
    raw(static_cast<uint32_t>(text.size()));
    out_ += text;
  }
  void integer(int64_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX) {
      op(kBinInt);
      return raw(static_cast<int32_t>(value));
    }
    op(kLong1);
    out_ += '\x08';
    raw(value);
  }
  void integers(at::IntArrayRef values) {
    op(kMark);
    for (const int64_t value : values) integer(value);
    op(kTuple);
  }
  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    op(kEmptyTuple);
    op(kReduce);
  }

  void tensor(const Tensor& value) {
    check(value.defined() && value.layout() == at::kStrided, "pickle: a tensor is undefined or sparse");
    const auto type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(),
                                   [&](const NamedDtype& known) { return known.dtype == value.scalar_type(); });
    check(type != kStorageTypes.end(), "pickle: PyTorch's files have no storage for ", dtype_name(value.scalar_type()));
    // _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)
    global("torch._utils", "_rebuild_tensor_v2");
    op(kMark);
    op(kMark);
    string("storage");
    global("torch", std::string(type->name));
    string(add_storage_(value));
    string("cpu");
    integer(value.numel());
    op(kTuple);
    op(kBinPersId);
    integer(0);
    integers(value.sizes());
    std::vector<int64_t> strides(static_cast<size_t>(value.dim()));
    for (int64_t i = value.dim(), stride = 1; i-- > 0; stride *= std::max<int64_t>(value.size(i), 1))
      strides[static_cast<size_t>(i)] = stride;
    integers(strides);
    op(kNewFalse);
    empty_ordered_dict();
    op(kTuple);
    op(kReduce);
  }

  void write(const PickleValue& value, int depth) {
    check(depth < 256, "pickle: containers are nested more than 256 deep");
    switch (value.kind()) {
      case Kind::kNone:
        return op(kNone);
      case Kind::kBool:
        return op(value.as_bool() ? kNewTrue : kNewFalse);
      case Kind::kInt:
        return integer(value.as_int());
      case Kind::kFloat:
        op(kBinFloat);
        return raw(__builtin_bswap64(std::bit_cast<uint64_t>(value.as_number())));
      case Kind::kString:
        return string(value.as_string());
      case Kind::kList:
      case Kind::kTuple:
        if (value.is(Kind::kList)) op(kEmptyList);
        op(kMark);
        for (const auto& item : value.items()) write(item, depth + 1);
        return op(value.is(Kind::kList) ? kAppends : kTuple);
      case Kind::kDict:
        // Any class but OrderedDict is written as a plain dict: weights_only=True would refuse it.
        if (value.type_name() == "collections.OrderedDict")
          empty_ordered_dict();
        else
          op(kEmptyDict);
        op(kMark);
        for (const auto& [key, item] : value.entries()) {
          write(key, depth + 1);
          write(item, depth + 1);
        }
        return op(kSetItems);
      case Kind::kTensor:
        return tensor(value.as_tensor());
      case Kind::kBigInt:
      case Kind::kBytes:
      case Kind::kSet:
        break;
    }
    fail("pickle: ", value.kind_name(), " cannot be written to a file that opens with weights_only=True");
  }

  const std::function<std::string(const Tensor&)>& add_storage_;
  std::string out_;
  std::unordered_map<std::string, size_t> memo_;
};

}  // namespace

std::string write_pickle(const PickleValue& value, const std::function<std::string(const Tensor&)>& add_storage) {
  return Writer(add_storage).run(value);
}

}  // namespace crescendo
