#include "crescendo/io/pickle_globals.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <array>

#include "crescendo/io/pickle_ops.h"
#include "crescendo/io/pickle_tensors.h"
#include "crescendo/io/pickle_text.h"

namespace crescendo::pickle {

namespace {

constexpr std::array<std::string_view, 31> kTorchDtypes = {
    "float64",        "double",   "float32",  "float",         "float16",     "half",
    "bfloat16",       "int64",    "long",     "int32",         "int",         "int16",
    "short",          "int8",     "uint8",    "bool",          "complex32",   "complex64",
    "complex128",     "qint8",    "quint8",   "qint32",        "uint16",      "uint32",
    "uint64",         "quint4x2", "quint2x4", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz"};

struct KnownGlobal {
  std::string_view name;
  Global global;
};
// Python 2 called the module of the built-ins __builtin__, and protocols 0 to 2 still do.
constexpr std::array kGlobals = {
    KnownGlobal{"collections.OrderedDict", Global::kOrderedDict},
    KnownGlobal{"argparse.Namespace", Global::kNamespace},
    KnownGlobal{"types.SimpleNamespace", Global::kNamespace},
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
    KnownGlobal{"torch.UntypedStorage", Global::kUntypedStorage},
    KnownGlobal{"torch.storage.UntypedStorage", Global::kUntypedStorage},
    KnownGlobal{"torch.storage._UntypedStorage", Global::kUntypedStorage},
    KnownGlobal{"torch._utils._rebuild_tensor", Global::kRebuildTensor},
    KnownGlobal{"torch._utils._rebuild_tensor_v2", Global::kRebuildTensorV2},
    KnownGlobal{"torch._utils._rebuild_tensor_v3", Global::kRebuildTensorV3},
    KnownGlobal{"torch._utils._rebuild_parameter", Global::kRebuildParameter},
    KnownGlobal{"torch._utils._rebuild_parameter_with_state", Global::kRebuildParameter},
    KnownGlobal{"torch._tensor._rebuild_from_type", Global::kRebuildFromType},
    KnownGlobal{"torch._tensor._rebuild_from_type_v2", Global::kRebuildFromType},
    KnownGlobal{"torch._utils._rebuild_device_tensor_from_numpy", Global::kRebuildFromNumpy},
    KnownGlobal{"torch._utils._rebuild_xla_tensor", Global::kRebuildFromNumpy},
    KnownGlobal{"torch.Size", Global::kTorchSize},
    KnownGlobal{"torch.device", Global::kTorchDevice},
    KnownGlobal{"numpy.core.multiarray.scalar", Global::kNumpyScalar},
    KnownGlobal{"numpy._core.multiarray.scalar", Global::kNumpyScalar},
    KnownGlobal{"numpy.dtype", Global::kNumpyDtype},
    KnownGlobal{"numpy.core.multiarray._reconstruct", Global::kNumpyArray},
    KnownGlobal{"numpy._core.multiarray._reconstruct", Global::kNumpyArray},
    KnownGlobal{"_codecs.encode", Global::kCodecsEncode},
};

Id make_ordered_dict(Arena& a, const std::vector<Id>& arguments) {
  const Id out = a.make_text(Kind::kDict, "collections.OrderedDict");
  a.must(arguments.size() <= 1, "OrderedDict takes a list of pairs");
  if (!arguments.empty())
    for (const Id pair : a.items_of(arguments[0], "the argument of OrderedDict")) {
      const auto& entry = a.items_of(pair, "an entry of OrderedDict");
      a.must(entry.size() == 2, "an entry of OrderedDict must be a pair");
      a.set_items(out, entry);
    }
  return out;
}

Id make_numpy_scalar(Arena& a, Id dtype_id, Id bytes_id) {
  const Value& dtype = a[dtype_id];
  const Kind content = a[bytes_id].kind;
  if (dtype.kind == Kind::kForeign || content == Kind::kForeign) return a.make_foreign("numpy.core.multiarray.scalar");
  // Python 2 keeps bytes as strings.
  a.must(dtype.kind == Kind::kNumpyDtype && (content == Kind::kBytes || content == Kind::kString),
         "a NumPy scalar is damaged");
  const std::string code = dtype.text;
  std::string raw = a[bytes_id].text;
  a.must(raw.size() == static_cast<size_t>(code[1] - '0'), "a NumPy scalar of type '", code, "' has ", raw.size(),
         " bytes");
  if (dtype.integer) std::reverse(raw.begin(), raw.end());
  const auto as = [&]<class T>(T) { return load_le<T>(std::as_bytes(std::span(raw.data(), raw.size())), 0); };
  if (code == "f8") return a.make_float(as(double{}));
  if (code == "f4") return a.make_float(as(float{}));
  if (code == "f2") return a.make_float(static_cast<float>(c10::Half(as(uint16_t{}), c10::Half::from_bits())));
  if (code == "b1") return a.make_bool(raw[0] != 0);
  if (code == "i1") return a.make_int(as(int8_t{}));
  if (code == "i2") return a.make_int(as(int16_t{}));
  if (code == "i4") return a.make_int(as(int32_t{}));
  if (code == "i8") return a.make_int(as(int64_t{}));
  if (code == "u1") return a.make_int(as(uint8_t{}));
  if (code == "u2") return a.make_int(as(uint16_t{}));
  if (code == "u4") return a.make_int(as(uint32_t{}));
  if (code == "u8" && as(uint64_t{}) <= static_cast<uint64_t>(INT64_MAX))
    return a.make_int(static_cast<int64_t>(as(uint64_t{})));
  return a.make_foreign("numpy.core.multiarray.scalar");
}

// Text, dates, objects and records are foreign.
Id make_numpy_dtype(Arena& a, const std::string& code) {
  const bool number = code.size() == 2 && std::string_view("fiub").find(code[0]) != std::string_view::npos &&
                      std::string_view("1248").find(code[1]) != std::string_view::npos;
  return number ? a.make_text(Kind::kNumpyDtype, code) : a.make_foreign("numpy.dtype");
}

// The name of the class that is made, where it is the first argument of what makes it.
std::string class_of(const Arena& a, const std::vector<Id>& arguments, const std::string& otherwise) {
  return !arguments.empty() && a[arguments[0]].kind == Kind::kGlobal ? a[arguments[0]].text : otherwise;
}

// A name as it may stand in a message, whatever the file made of it.
std::string shown_name(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string out(name.substr(0, kLongest));
  for (char& c : out)
    if (c < '!' || c > '~') c = '?';
  return name.size() > kLongest ? out + "..." : out;
}

bool takes_attributes(const std::string& class_name) {
  return class_name == "argparse.Namespace" || class_name == "types.SimpleNamespace";
}

}  // namespace

Id find_global(Arena& a, std::string_view module, std::string_view name) {
  const std::string full = std::string(module) + "." + std::string(name);
  const auto make = [&](Global global, int64_t detail) {
    const Id id = a.make_text(Kind::kGlobal, full);
    a[id].global = global;
    a[id].integer = detail;
    return id;
  };
  for (const auto& known : kGlobals)
    if (full == known.name) return make(known.global, 0);
  if (module == "torch" || module == "torch.cuda")
    for (const auto& known : kStorageTypes)
      if (name == known.name) return make(Global::kStorage, static_cast<int64_t>(known.dtype));
  if (module == "torch" && std::find(kTorchDtypes.begin(), kTorchDtypes.end(), name) != kTorchDtypes.end())
    return a.make_text(Kind::kString, full);
  if (module == "torch" || module == "torch.cuda")
    for (const auto& known : kUnreadStorageTypes)
      if (name == known.name) return make(Global::kUnreadStorage, static_cast<int64_t>(known.dtype));
  const Id id = a.make_text(Kind::kGlobal, shown_name(full));
  a[id].global = Global::kForeign;
  return id;
}

Id call(Arena& a, Id callee, Id arguments_id) {
  // (function, class, arguments, state): a subclass of Tensor, whose own function makes a tensor.
  while (a[callee].kind == Kind::kGlobal && a[callee].global == Global::kRebuildFromType) {
    const auto& wrapped = a.items_of(arguments_id, "the arguments of a call");
    a.must(wrapped.size() == 4, a[callee].text, " is called with ", wrapped.size(), " arguments");
    callee = wrapped[0];
    arguments_id = wrapped[2];
  }
  if (a[callee].kind == Kind::kForeign) return a.make_foreign(std::string(a.class_name(callee)));
  a.must(a[callee].kind == Kind::kGlobal, "it calls what is no known function");
  a.must(a[arguments_id].kind == Kind::kTuple, "the arguments of a call must be a tuple");
  const std::vector<Id> arguments = a[arguments_id].items;
  const Global global = a[callee].global;
  const std::string name = a[callee].text;
  const auto expect_count = [&](size_t low, size_t high) {
    a.must(arguments.size() >= low && arguments.size() <= high, name, " is called with ", arguments.size(),
           " arguments");
  };
  switch (global) {
    case Global::kOrderedDict:
      return make_ordered_dict(a, arguments);
    case Global::kNamespace:
      expect_count(0, 0);
      return a.make_text(Kind::kDict, name);
    case Global::kSet:
    case Global::kFrozenSet:
      expect_count(0, 1);
      return a.make_items(global == Global::kSet ? Kind::kSet : Kind::kFrozenSet,
                          arguments.empty() ? std::vector<Id>{} : a.items_of(arguments[0], "the items of a set"));
    case Global::kBytes:
      expect_count(0, 0);
      return a.make_text(Kind::kBytes, "");
    case Global::kReconstructor: {  // (class, object, None)
      expect_count(3, 3);
      const Value& type = a[arguments[0]];
      if (type.kind == Kind::kGlobal && type.global == Global::kNamespace)
        return a.make_text(Kind::kDict, std::string(type.text));
      return a.make_foreign(class_of(a, arguments, name));
    }
    case Global::kRebuildTensor:
      expect_count(4, 4);
      return rebuild_tensor(a, arguments[0], arguments[1], arguments[2], arguments[3]);
    case Global::kRebuildTensorV2:  // (.., requires_grad, backward_hooks[, metadata])
      expect_count(6, 7);
      return rebuild_tensor(a, arguments[0], arguments[1], arguments[2], arguments[3]);
    case Global::kRebuildTensorV3:  // (.., requires_grad, backward_hooks, dtype[, metadata])
      expect_count(7, 8);
      return rebuild_tensor_of(a, arguments[6], arguments[0], arguments[1], arguments[2], arguments[3]);
    case Global::kRebuildParameter:  // (tensor, requires_grad, backward_hooks[, state])
      expect_count(3, 4);
      a.must(a[arguments[0]].kind == Kind::kTensor || a[arguments[0]].kind == Kind::kForeign,
             "a parameter must be made of a tensor");
      return arguments[0];
    case Global::kRebuildFromNumpy:  // (array, dtype, device, requires_grad)
      expect_count(4, 4);
      return tensor_of_array(a, arguments[0], arguments[1], name);
    case Global::kTorchSize:
      expect_count(1, 1);
      return a.make_items(Kind::kTuple, a.items_of(arguments[0], "the argument of torch.Size"));
    case Global::kTorchDevice: {
      expect_count(1, 2);
      std::string device = a.string_of(arguments[0], "a device");
      if (arguments.size() == 2) device += ":" + std::to_string(a.int_of(arguments[1], "the index of a device"));
      return a.make_text(Kind::kString, device);
    }
    case Global::kNumpyScalar:
      expect_count(2, 2);
      return make_numpy_scalar(a, arguments[0], arguments[1]);
    case Global::kNumpyDtype:
      expect_count(1, 3);
      if (a[arguments[0]].kind != Kind::kString) return a.make_foreign(name);
      return make_numpy_dtype(a, a.string_of(arguments[0], "a NumPy dtype"));
    case Global::kNumpyArray:  // (class, shape, type); the content comes with its state
      return a.make_foreign(class_of(a, arguments, name));
    case Global::kCodecsEncode: {  // how Python 3 writes bytes in protocol 2
      expect_count(2, 2);
      const std::string& encoding = a.string_of(arguments[1], "an encoding");
      a.must(encoding == "latin1" || encoding == "latin-1", "encoding '", encoding, "' is not supported");
      auto bytes = latin1_of(a.string_of(arguments[0], "encoded bytes"));
      a.must(bytes.has_value(), "bytes are written with characters above 255");
      return a.make_text(Kind::kBytes, std::move(*bytes));
    }
    case Global::kForeign: {
      const bool makes_its_argument = name.starts_with("copyreg.__newobj") || name.starts_with("copy_reg.__newobj");
      return a.make_foreign(makes_its_argument ? class_of(a, arguments, name) : name);
    }
    case Global::kObject:
    case Global::kStorage:
    case Global::kUntypedStorage:
    case Global::kUnreadStorage:
    case Global::kRebuildFromType:
      break;
  }
  return a.make_foreign(name);  // what only stands for a type here
}

// Attributes of a Namespace, byte order of a dtype, content of an array. The attributes of an OrderedDict (_metadata of
// a state dict) carry nothing that is needed, and those of a foreign object are forgotten.
void set_state(Arena& a, Id target, Id state) {
  if (a[target].kind == Kind::kForeign) {
    if (a.class_name(target) == "numpy.ndarray") fill_array(a, target, state);
    return;
  }
  if (a[target].kind == Kind::kNumpyDtype) {
    const auto& items = a.items_of(state, "the state of a NumPy dtype");
    a.must(items.size() >= 2, "the state of a NumPy dtype is damaged");
    a[target].integer = a.string_of(items[1], "a byte order") == ">";
    return;
  }
  a.must(a[target].kind == Kind::kDict && !a[target].text.empty(), "it sets the state of what has none");
  if (!takes_attributes(a[target].text)) return;
  a.must(a[state].kind == Kind::kDict, "the state of a ", a[target].text, " must be a dict");
  a.set_items(target, std::vector<Id>(a[state].items));
}

}  // namespace crescendo::pickle
