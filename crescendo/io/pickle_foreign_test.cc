// What a pickle holds beside plain data: other programs' objects, and tensors in other makings and types.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/io/pickle_test_support.h"

namespace crescendo {
namespace {

// Classes and functions that are not known make opaque values with their names; nothing is called.
TEST(Pickle, WhatIsForeignIsOpaque) {
  const std::vector<Case> foreign = {
      {"cos\nsystem\nU\4echo\x85R.", "os.system"},
      {"\x80\4\x8c\x05posix\x8c\6system\x93.", "posix.system"},
      {"(S'1'\nibuiltins\neval\n.", "builtins.eval"},
      {"cbuiltins\nset\n.", "builtins.set"},                                      // a class itself
      {"ctorch\nFloatStorage\n)R.", "torch.FloatStorage"},                        // what only stands for a type
      {"\x80\4\x8c\4o\ns\xff\x8c\1x\x93.", "o?s?.x"},                             // of any bytes
      {"cfoo\nBar\n)}U\1aK\1s\x92.", "foo.Bar"},                                  // with keywords
      {"cfoo\nBar\n)\x81(K\1K\2e.", "foo.Bar"},                                   // a subclass of list
      {"cfoo\nBar\n)\x81(K\1\x90.", "foo.Bar"},                                   // of set
      {"cfoo\nBar\n)\x81}U\1aK\1sb.", "foo.Bar"},                                 // with attributes
      {"cfoo\nBar\n)\x81K\1b.", "foo.Bar"},                                       // with a state of any kind
      {"cfoo\nBar\n)\x81q\0}U\1ah\0sb."s, "foo.Bar"},                             // that knows itself
      {"cbuiltins\ngetattr\ncfoo\nBar\nU\1x\x86RK\1\x85R.", "builtins.getattr"},  // what a foreign function gave
      {"ccopyreg\n_reconstructor\n(cfoo\nBar\ncbuiltins\nobject\nNtR.", "foo.Bar"},
      {"ccopyreg\n__newobj_ex__\ncfoo\nBar\n)}\x87R.", "foo.Bar"},
      {"cpathlib\nPosixPath\n(U\1/U\3tmptR.", "pathlib.PosixPath"},
      {"cnumpy\ndtype\nU\2O8\x85R.", "numpy.dtype"},
      {"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\3U16\x85RC\1a\x86R.", "numpy.core.multiarray.scalar"},
      {"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
       "C\1b\x87R(K\1K\1\x85"s +
           kNumpyF8 + "\x89" + "C\x08\0\0\0\0\0\0\xf8\x3ftb."s,
       "numpy.ndarray"},
  };
  for (const auto& [pickle, name] : foreign) {
    const PickleValue value = parse(pickle);
    ASSERT_TRUE(value.is(PickleValue::Kind::kForeign)) << name;
    EXPECT_EQ(value.as_string(), name);
    EXPECT_EQ(to_json(value), Json({{"object", name}}));
  }
  EXPECT_TRUE(parse("}cfoo\nBar\nK\1s.").entries()[0].first.is(PickleValue::Kind::kForeign));  // as a key
  EXPECT_EQ(to_json(parse("ctypes\nSimpleNamespace\n)R}U\1aK\1sb.")).dump(), R"({"a":1})");
}

// Four bytes make an object, whatever the length of its class's name.
TEST(Pickle, ManyForeignObjectsAreNoBomb) {
  std::string pickle = "](cfoo\n" + std::string(100, 'x') + "\nq\1";
  for (int i = 0; i < 100'000; ++i) pickle += ")\x81h\1";
  EXPECT_EQ(foreign_classes(parse(pickle + "e.")),
            (std::map<std::string, int64_t>{{"foo." + std::string(100, 'x'), 100'001}}));
}

TEST(Pickle, AForeignDictKeepsItsItems) {
  const PickleValue value = parse("ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(U\1aK\1u}U\1bK\2sb.");
  EXPECT_EQ(value.type_name(), "collections.defaultdict");
  EXPECT_EQ(to_json(value).dump(), R"({"a":1})");
}

TEST(Pickle, CountsWhatIsForeign) {
  // [Bar(), Bar(), the second again, defaultdict(), {"x": Baz}]
  const PickleValue value = parse(
      "](cfoo\nBar\n)\x81"
      "cfoo\nBar\n)\x81q\0h\0ccollections\ndefaultdict\n)R(K\1K\1u}U\1xcfoo\nBaz\nse."s);
  EXPECT_EQ(foreign_classes(value),
            (std::map<std::string, int64_t>{{"foo.Bar", 2}, {"foo.Baz", 1}, {"collections.defaultdict", 1}}));
  EXPECT_TRUE(foreign_classes(parse("ccollections\nOrderedDict\n)R.")).empty());
}

// PyTorch's other ways to put a tensor together, around tensor_pickle's or over a storage of another type.
TEST(Pickle, TensorsOfOtherMakings) {
  const auto read = [](const std::string& pickle) { return parse(pickle, kTenFloats); };
  std::string whole = tensor_pickle(10, 0, {10}, {1});
  whole.pop_back();  // STOP
  const Tensor ten = at::arange(10, at::kFloat);
  EXPECT_TRUE(
      identical(read("ctorch._utils\n_rebuild_parameter_with_state\n(" + whole + "\x88N}tR.").as_tensor(), ten));
  // (function, class, arguments, state), where the function is _rebuild_tensor_v2.
  const size_t call = whole.find('(');
  EXPECT_TRUE(identical(read("ctorch._tensor\n_rebuild_from_type_v2\n(" + whole.substr(0, call) + "cfoo\nMyTensor\n" +
                             whole.substr(call, whole.size() - call - 1) + "}tR.")
                            .as_tensor(),
                        ten));
  const auto over = [](const std::string& function, const std::string& type, int64_t numel, const std::string& rest) {
    return "ctorch._utils\n" + function + "\n((" + text("storage") + type + text("0") + text("cpu") + number(numel) +
           "tQK" + std::string(1, '\0') + "K\1\x85K\1\x85\x89N" + rest + "tR.";
  };
  // Bytes whose type is told beside.
  PickleOptions bytes;
  bytes.load_storage = [](const StorageId& id) {
    EXPECT_EQ(id.dtype, at::kByte);
    return at::full({1}, 1.5f).view(at::kByte).slice(0, 0, id.numel);
  };
  const std::string untyped = "ctorch.storage\nUntypedStorage\n";
  EXPECT_TRUE(identical(parse(over("_rebuild_tensor_v3", untyped, 4, "ctorch\nfloat32\n"), bytes).as_tensor(),
                        at::full({1}, 1.5f)));
  EXPECT_EQ(parse(over("_rebuild_tensor_v3", untyped, 4, "ctorch\nfloat8_e4m3fn\n"), bytes).as_string(),
            "torch.float8_e4m3fn");
  EXPECT_CONTAINS(parse_error(over("_rebuild_tensor_v3", untyped, 3, "ctorch\nfloat32\n"), bytes), "no whole number");
  // What is not read stands under its name.
  for (const char* name : {"ComplexFloatStorage", "QInt8Storage", "Float9Storage"})
    EXPECT_EQ(read(over("_rebuild_tensor_v2", "ctorch\n" + std::string(name) + "\n", 1, "")).as_string(),
              "torch." + std::string(name));
  EXPECT_EQ(read("ctorch._utils\n_rebuild_sparse_tensor\n(N" + whole + "tR.").as_string(),
            "torch._utils._rebuild_sparse_tensor");
  EXPECT_EQ(read("ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_qtensor\n(NtR\x88NtR.").as_string(),
            "torch._utils._rebuild_qtensor");
  // From a device whose tensors travel as NumPy's arrays.
  const std::string array =
      "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
      "C\1b\x87R(K\1K\1\x85"s +
      kNumpyF8 + "\x89" + "C\x08\0\0\0\0\0\0\xf8\x3ftb"s;
  EXPECT_TRUE(
      identical(read("ctorch._utils\n_rebuild_device_tensor_from_numpy\n(" + array + "ctorch\nfloat32\nU\3xla\x88tR.")
                    .as_tensor(),
                at::full({1}, 1.5f)));
  // Persistent objects other than storages.
  EXPECT_EQ(read("(U\6modulecfoo\nNet\nU\1xtQ.").as_string(), "foo.Net");
  EXPECT_EQ(read("U\1aQ.").as_string(), "a persistent object");
}

}  // namespace
}  // namespace crescendo
