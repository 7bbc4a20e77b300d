#include "crescendo/io/pickle.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "crescendo/io/pickle_test_support.h"

namespace crescendo {
namespace {

std::string repeated(const std::string& piece, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += piece;
  return out;
}

// Written by hand after Python's pickletools; every instruction stands here at least once.
const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {"\x80\x02N.", "null"},
      {"\x80\x02\x88.", "true"},
      {"\x80\x02\x89.", "false"},
      {"K\xff.", "255"},
      {"M\x2c\1.", "300"},
      {"J\xfe\xff\xff\xff.", "-2"},
      {"\x8a\0."s, "0"},
      {"\x8a\1\xff.", "-1"},
      {"\x8a\2\xff\0."s, "255"},
      {"\x8a\x08\0\0\0\0\0\0\0\x80."s, "-9223372036854775808"},
      {"\x8a\x09\0\0\0\0\0\0\0\x80\xff."s, "-9223372036854775808"},  // a byte that only repeats the sign
      {"\x8a\x09\0\0\0\0\0\0\0\x80\0."s, "\"0x8000000000000000\""},
      {"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\xff."s, "\"-0x8000000000000001\""},
      {"\x8b\1\0\0\0\7."s, "7"},
      {"I-12\n.", "-12"},
      {"I00\n.", "false"},
      {"I01\n.", "true"},
      {"L12L\n.", "12"},
      {"F1.5\n.", "1.5"},
      {"G\x3f\xf8\0\0\0\0\0\0."s, "1.5"},
      {"G\x7f\xf8\0\0\0\0\0\0."s, "\"nan\""},
      {"S'a\\x41\\n\\'\\\\'\n.", R"("aA\n'\\")"},
      {"V\\u00e9\xe9\\U0001f600\\u20ac\n.", "\"éé\U0001f600€\""},
      {"X\2\0\0\0\xc3\xa9."s, "\"é\""},
      {"T\1\0\0\0a."s, "\"a\""},
      {"U\1a.", "\"a\""},
      {"\x80\4\x8c\1a.", "\"a\""},
      {"\x80\4\x8d\1\0\0\0\0\0\0\0a."s, "\"a\""},
      {"B\1\0\0\0a."s, "\"a\""},
      {"C\1a.", "\"a\""},
      {"\x8e\1\0\0\0\0\0\0\0a."s, "\"a\""},
      {"\x80\5\x96\1\0\0\0\0\0\0\0a."s, "\"a\""},
      {"].", "[]"},
      {"(K\1K\2l.", "[1,2]"},
      {"]K\1a.", "[1]"},
      {"](K\1K\2e.", "[1,2]"},
      {").", "[]"},
      {"(K\1K\2t.", "[1,2]"},
      {"K\1\x85.", "[1]"},
      {"K\1K\2\x86.", "[1,2]"},
      {"K\1K\2K\3\x87.", "[1,2,3]"},
      {"}.", "{}"},
      {"(U\1aK\1d.", R"({"a":1})"},
      {"}U\1aK\1s.", R"({"a":1})"},
      {"}(U\1bK\1K\7K\2u.", R"({"b":1,"7":2})"},
      {"\x8f(K\1\x90.", "[1]"},
      {"(K\1\x91.", "[1]"},
      {"]q\0h\0\x86."s, "[[],[]]"},
      {"]p10\ng10\n\x86.", "[[],[]]"},
      {"]r\1\0\0\0j\1\0\0\0\x86."s, "[[],[]]"},
      {"]\x94h\0\x86."s, "[[],[]]"},
      {"]q\0h\0K\1a0."s, "[1]"},  // what is kept is the list, not a copy
      {"K\1K\2"
       "0.",
       "1"},
      {"K\1(0.", "1"},
      {"K\1(K\2K\3"
       "1.",
       "1"},
      {"K\1"
       "2\x86.",
       "[1,1]"},
      {"\x80\4\x95\3\0\0\0\0\0\0\0K\1."s, "1"},
      {"\x8c\x0b"
       "collections\x8c\x0bOrderedDict\x93)R.",
       "{}"},
      {"ccollections\nOrderedDict\n](U\1aK\1\x86"
       "e\x85R.",
       R"({"a":1})"},
      {"ccollections\nOrderedDict\n)R}U\1xK\1sb.", "{}"},  // attributes of an OrderedDict are dropped
      {"cargparse\nNamespace\n)\x81}U\1aK\1sb.", R"({"a":1})"},
      {"cargparse\nNamespace\n)}\x92.", "{}"},
      {"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR(U\1aK\1db.", R"({"a":1})"},
      {"(iargparse\nNamespace\n.", "{}"},
      {"(cargparse\nNamespace\no.", "{}"},
      {"cbuiltins\nset\n](K\1K\2e\x85R.", "[1,2]"},
      {"c__builtin__\nfrozenset\n)R.", "[]"},
      {"c_codecs\nencode\nX\3\0\0\0\xc3\x81"
       "aU\6latin1\x86R."s,
       nullptr},  // see BytesOfProtocol2
      {"cbuiltins\nbytes\n)R.", "\"\""},
      {"ctorch\nSize\nK\2K\3\x86\x85R.", "[2,3]"},
      {"ctorch\ndevice\nU\4cudaK\1\x86R.", "\"cuda:1\""},
      {"ctorch\nfloat16\n.", "\"torch.float16\""},
      {"cnumpy.core.multiarray\nscalar\n" + kNumpyF8 + "C\x08\0\0\0\0\0\0\xf8\x3f\x86R."s, "1.5"},
      {"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nU\2i2\x85R(K\3U\1>tbC\2\1\2\x86R.", "258"},
  };
  return list;
}

TEST(Pickle, CarriesOutEveryInstruction) {
  for (const auto& [pickle, json] : cases())
    if (json) {
      EXPECT_EQ(to_json(parse(pickle)).dump(), json) << "pickle " << ::testing::PrintToString(pickle);
    }
}

TEST(Pickle, ErrorsWhereverItIsCutShort) {
  for (const auto& one : cases())
    for (size_t size = 0; size < one.pickle.size(); ++size) {
      const std::string message = parse_error(one.pickle.substr(0, size));
      EXPECT_CONTAINS(message, "x.pkl: pickle");
    }
}

TEST(Pickle, KeepsKindsApart) {
  using Kind = PickleValue::Kind;
  EXPECT_TRUE(parse("C\1a.").is(Kind::kBytes));
  EXPECT_TRUE(parse("U\1a.").is(Kind::kString));
  EXPECT_TRUE(parse(").").is(Kind::kTuple));
  EXPECT_TRUE(parse("].").is(Kind::kList));
  EXPECT_TRUE(parse("\x8f.").is(Kind::kSet));
  EXPECT_TRUE(parse("\x88.").is(Kind::kBool));
  EXPECT_EQ(parse("cargparse\nNamespace\n)\x81.").type_name(), "argparse.Namespace");
  EXPECT_EQ(parse("}.").type_name(), "");
  EXPECT_EQ(parse("K\3.").as_number(), 3.0);
  EXPECT_CONTAINS(error_of([] { parse("K\3.").as_string(); }), "expected a string, got an int");
}

TEST(Pickle, BytesOfProtocol2) {
  const PickleValue value = parse(
      "c_codecs\nencode\nX\3\0\0\0\xc3\x81"
      "aU\6latin1\x86R."s);
  EXPECT_TRUE(value.is(PickleValue::Kind::kBytes));
  EXPECT_EQ(value.as_string(),
            "\xc1"
            "a");
  EXPECT_CONTAINS(parse_error("c_codecs\nencode\nX\3\0\0\0\xe2\x82\xacU\6latin1\x86R."s), "above 255");
  EXPECT_CONTAINS(parse_error("c_codecs\nencode\nU\1aU\6rot-13\x86R."), "rot-13");
}

TEST(Pickle, RefusesWhatIsDamaged) {
  const std::vector<Case> damaged = {
      {".", "0 values and 0 open marks"},
      {"K\1K\2.", "2 values and 0 open marks"},
      {"(K\1.", "1 values and 1 open marks"},
      {"0.", "empty stack"},
      {"K\1(a.", "empty stack"},  // what stands below a mark is out of reach
      {"K\1t.", "a mark is missing"},
      {"h\5.", "never kept"},
      {"]q\0h\0a."s, "contains itself"},
      {"}q\0U\1ah\0s."s, "contains itself"},
      {"}(U\1aK\1U\1aK\2u.", "the key 'a' twice"},
      {"}(K\5K\1K\5K\2u.", "the key '5' twice"},
      {"}]K\1s.", "no plain value"},
      {"}(U\1au.", "a key without a value"},
      {"K\1K\2a.", "no list"},
      {"]K\1K\2s.", "no dict"},
      {"](K\1\x90.", "no set"},
      {"\x80\6N.", "protocol 6"},
      {"\x82\1.", "is not known or not allowed"},
      {"Pabc\n.", "persistent id in text form"},
      {"U\1aQ.", "where there is none"},
      {"K\1)R.", "no known function"},
      {"cargparse\nNamespace\nK\1R.", "must be a tuple"},
      {"cargparse\nNamespace\nK\1\x85R.", "called with 1 arguments"},
      {"cargparse\nNamespace\n)}U\1aK\1s\x92.", "keywords"},
      {"ccollections\nOrderedDict\n]K\1a\x85R.", "an entry of OrderedDict"},
      {"}}b.", "state of what has none"},
      {"(o.", "without a class"},
      {"I1x\n.", "no int"},
      {"L99999999999999999999L\n.", "no int"},
      {"F1,5\n.", "no float"},
      {"px\n.", "no memo key"},
      {"S'a\n.", "no quotes"},
      {"S'\\q'\n.", "damaged escape"},
      {"V\\ud800\n.", "damaged escape"},
      {"V\\u12\n.", "damaged escape"},
      {"\x8b\1\4\0\0"s + std::string(1025, '\7') + "."s, "an int of 1025 bytes"},
      {"X\xff\xff\xff\xff"
       "abc.",
       "cut short"},
      {"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
       "abc.",
       "cut short"},
      {"\x95\xff\0\0\0\0\0\0\0N."s, "frame"},
      {"N.N", "1 bytes after the end"},
      {"cnumpy.core.multiarray\nscalar\n" + kNumpyF8 + "C\1a\x86R.", "has 1 bytes"},
  };
  for (const auto& [pickle, message] : damaged) EXPECT_CONTAINS(parse_error(pickle), message);
}

TEST(Pickle, DepthIsBounded) {
  const auto nested = [](size_t depth) { return repeated("]", depth) + repeated("a", depth - 1) + "."; };
  EXPECT_NO_THROW(parse(nested(256)));
  EXPECT_CONTAINS(parse_error(nested(257)), "nested more than 256");
  EXPECT_CONTAINS(parse_error(nested(500'000)), "nested more than 256");  // nothing recurses meanwhile
}

// Small inputs that stand for much: each bound keeps memory and time in proportion.
TEST(Pickle, BombsAreBounded) {
  // A list of ten references to the list before, nine times: shared in memory, 10^9 values when written out.
  std::string laughs = "]K\1a\x94";
  for (char i = 0; i < 9; ++i) laughs += "0](" + repeated("h"s + i, 10) + "e\x94";
  const PickleValue value = parse(laughs + ".");
  EXPECT_CONTAINS(error_of([&] { to_json(value); }), "too large");

  const std::string long_text = text(std::string(65536, 'x'));
  EXPECT_CONTAINS(parse_error("]ctorch\ndevice\nq\1"
                              "0" +
                              long_text +
                              "q\2"
                              "0" +
                              repeated("h\1h\2\x85Ra", 100) + "."),
                  "strings are copied too often");

  PickleOptions small;
  small.max_values = 1000;
  EXPECT_CONTAINS(parse_error(repeated("N", 1001) + ".", small), "more than 1000 values");
  const std::string state = "}q\1(" + repeated("NN", 100) + "u0";
  EXPECT_CONTAINS(parse_error(state + "cargparse\nNamespace\n)\x81" + repeated("h\1b", 100) + ".", small),
                  "too many items");
}

TEST(Pickle, TensorsAreStridedViews) {
  const auto read = [](auto... args) { return parse(tensor_pickle(args...), kTenFloats).as_tensor(); };
  using List = std::vector<int64_t>;
  EXPECT_TRUE(identical(read(10, 1, List{2, 3}, List{3, 1}), at::arange(1, 7, at::kFloat).reshape({2, 3})));
  EXPECT_TRUE(identical(read(10, 0, List{2, 3}, List{1, 2}), at::arange(6, at::kFloat).reshape({3, 2}).t()));
  EXPECT_TRUE(identical(read(10, 9, List{}, List{}), at::scalar_tensor(9.f)));
  EXPECT_TRUE(identical(read(10, 4, List{3, 2}, List{0, 0}), at::full({3, 2}, 4.f)));
  EXPECT_TRUE(identical(read(10, 10, List{0, 4}, List{4, 1}), at::empty({0, 4})));
  for (const char* location : {"cpu", "cuda", "mps:0", "privateuseone:3", ""})
    EXPECT_NO_THROW(read(10, 0, List{10}, List{1}, std::string(location)));
}

TEST(Pickle, TensorsStayInsideTheirStorage) {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  struct Bad {
    int64_t storage, offset;
    std::vector<int64_t> sizes, strides;
    const char* message;
  };
  const std::vector<Bad> bad = {
      {10, 0, {11}, {1}, "leaves its storage of 10"},
      {10, 1, {10}, {1}, "leaves its storage of 10"},
      {10, 10, {}, {}, "leaves its storage of 10"},
      {10, 11, {0}, {1}, "leaves its storage of 10"},
      {10, 0, {2, 2}, {9, 1}, "leaves its storage of 10"},
      {10, -1, {1}, {1}, "negative offset"},
      {10, 0, {-1}, {1}, "negative size"},
      {10, 9, {2}, {-1}, "negative stride"},
      {10, 0, {2}, {1, 1}, "1 sizes and 2 strides"},
      {10, 0, {kHuge, 2}, {0, 0}, "more elements than 63 bits"},
      {10, 0, {kHuge}, {1}, "leaves its storage of 10"},
      {10, 0, {int64_t{1} << 32, int64_t{1} << 31}, {0, 0}, "more elements than 63 bits"},
      {10, 0, {0, kHuge, kHuge}, {0, 0, 0}, "more elements than 63 bits"},
      {10, 0, {3}, {kHuge}, "leaves its storage"},
      {10, kHuge, {2}, {kHuge}, "leaves its storage"},
      {10, 0, {int64_t{1} << 40}, {0}, "elements over a storage of 10"},  // a tensor of 4 TiB over 40 bytes
      {-1, 0, {1}, {1}, "a storage of -1 elements"},
      {kHuge, 0, {1}, {1}, "elements cannot be"},
      {10, 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1), "64 dimensions"},
  };
  for (const Bad& b : bad)
    EXPECT_CONTAINS(parse_error(tensor_pickle(b.storage, b.offset, b.sizes, b.strides), kTenFloats), b.message);
  EXPECT_CONTAINS(parse_error("ctorch._utils\n_rebuild_tensor\n(K\1K\0))tR."s), "must stand on a storage");
  EXPECT_CONTAINS(parse_error("ctorch._utils\n_rebuild_parameter\nK\1\x88N\x87R."), "made of a tensor");
}

TEST(Pickle, JsonThereAndBack) {
  const Json json = Json::parse(R"({"a": [1, -2.5, "x", null, true], "b": {"c": 4294967296}, "e": []})");
  EXPECT_EQ(to_json(PickleValue::from_json(json)), json);
  EXPECT_CONTAINS(error_of([] { PickleValue::from_json(Json(UINT64_MAX)); }), "too large");
}

TEST(PickleWriter, WhatIsWrittenIsReadAgain) {
  const Json json = Json::parse(R"({"a": [1, "é", null, true, false], "b": {"c": 4294967296, "d": -3}})");
  const std::string written = write_pickle(PickleValue::from_json(json), nullptr);
  EXPECT_TRUE(written.starts_with("\x80\x02"));
  EXPECT_EQ(to_json(parse(written)), json);
  EXPECT_EQ(parse(write_pickle(PickleValue::state_dict({}), nullptr)).type_name(), "collections.OrderedDict");
}

// PyTorch 1.13 stops at the instruction for floats.
TEST(PickleWriter, FloatsAreTensorsWithoutDimensions) {
  std::vector<Tensor> storages;
  const std::string written = write_pickle(PickleValue::from_json(Json::parse("[0.0001, -2.5]")), [&](const Tensor& t) {
    storages.push_back(t);
    return std::to_string(storages.size() - 1);
  });
  EXPECT_EQ(written.find('G'), std::string::npos);
  PickleOptions options;
  options.load_storage = [&](const StorageId& id) { return storages.at(std::stoul(id.key)).reshape({id.numel}); };
  const PickleValue read = parse(written, options);
  EXPECT_TRUE(identical(read.items().at(0).as_tensor(), at::scalar_tensor(0.0001, at::kDouble)));
  EXPECT_EQ(to_json(read).dump(), "[0.0001,-2.5]");
}

// weights_only=True refuses a Namespace, so the writer makes it a plain dict.
TEST(PickleWriter, ANamespaceBecomesADict) {
  const PickleValue arguments = parse("cargparse\nNamespace\n)\x81}U\1aK\1sb.");
  const std::string written = write_pickle(arguments, nullptr);
  EXPECT_EQ(written.find("argparse"), std::string::npos);
  EXPECT_EQ(to_json(parse(written)).dump(), R"({"a":1})");
}

TEST(PickleWriter, RefusesWhatWeightsOnlyWouldRefuse) {
  const auto write_error = [](const PickleValue& value) {
    return error_of([&] { write_pickle(value, [](const Tensor&) { return ""; }); });
  };
  EXPECT_CONTAINS(write_error(parse("\x8f.")), "a set cannot be written");
  EXPECT_CONTAINS(write_error(parse("C\1a.")), "bytes cannot be written");
  EXPECT_CONTAINS(write_error(PickleValue::tensor(at::zeros({1}, at::kComplexFloat))), "no storage for");
  EXPECT_CONTAINS(write_error(PickleValue::tensor({})), "undefined");
}

// Found by fuzzing: a few bytes that share each branch twice stood for a stream too large for the reader.
TEST(PickleWriter, SharedBranchesHaveALimit) {
  const auto doubled = [](size_t times) { return parse("K\1" + repeated("2\x86", times) + "."); };
  EXPECT_NO_THROW(parse(write_pickle(doubled(16), nullptr)));
  EXPECT_CONTAINS(error_of([&] { write_pickle(doubled(40), nullptr); }), "more than 4000000 values");
}

}  // namespace
}  // namespace crescendo
