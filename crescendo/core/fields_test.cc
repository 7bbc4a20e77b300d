#include "crescendo/core/fields.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::usage_error_of;

enum class Colour { kRed, kBlue };
constexpr auto enum_table(Colour) { return std::array{EnumName{Colour::kRed, "red"}, EnumName{Colour::kBlue, "blue"}}; }

struct Inner {
  double rate = 0.5;
  std::vector<int64_t> levels{1, 2};
  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("rate", s.rate, "a rate");
    v("levels", s.levels, "a list");
  }
};
struct Outer {
  bool on = false;
  int64_t count = 3;
  std::string name = "x";
  Colour colour = Colour::kRed;
  std::optional<Colour> other{};
  Inner inner{};
  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("on", s.on, "a switch");
    v("count", s.count, "a number");
    v("name", s.name, "a name");
    v("colour", s.colour, "a colour");
    v("other", s.other, "a colour or none");
    v("inner", s.inner, "more");
  }
};

TEST(Fields, RoundTripKeepsOrderAndValues) {
  Outer o;
  o.on = true;
  o.count = -7;
  o.name = "a \"b\"";
  o.colour = Colour::kBlue;
  o.inner = {1e-4, {}};
  const Json json = value_to_json(o);
  EXPECT_EQ(
      json.dump(),
      R"({"on":true,"count":-7,"name":"a \"b\"","colour":"blue","other":null,"inner":{"rate":0.0001,"levels":[]}})");
  Outer back;
  EXPECT_FALSE(fields_equal(o, back));
  value_from_json(back, json, "config");
  EXPECT_TRUE(fields_equal(o, back));
}

TEST(Fields, WhatIsNotGivenKeepsItsValue) {
  Outer o;
  o.count = 9;
  value_from_json(o, Json::parse(R"({"inner":{"rate":2}})"), "config");
  EXPECT_EQ(o.count, 9);
  EXPECT_EQ(o.inner.rate, 2.0);  // a whole number is a number
  EXPECT_EQ(o.inner.levels, (std::vector<int64_t>{1, 2}));
}

TEST(Fields, NullUnsetsWhatIsOptional) {
  Outer o;
  value_from_json(o, Json::parse(R"({"other":"blue"})"), "config");
  EXPECT_EQ(o.other, Colour::kBlue);
  EXPECT_EQ(value_to_json(o)["other"], "blue");
  value_from_json(o, Json::parse(R"({"count":1})"), "config");
  EXPECT_EQ(o.other, Colour::kBlue);
  value_from_json(o, Json::parse(R"({"other":null})"), "config");
  EXPECT_FALSE(o.other.has_value());
  EXPECT_EQ(usage_error_of([&] { value_from_json(o, Json::parse(R"({"other":"green"})"), "config"); }),
            "config.other must be red|blue, got 'green'");
  std::optional<std::vector<int64_t>> list;
  value_from_json(list, Json::parse("[4]"), "list");
  EXPECT_EQ(list, (std::vector<int64_t>{4}));
  EXPECT_EQ(usage_error_of([&] { value_from_json(list, Json(4), "list"); }), "list must be a list, got 4");
  value_from_json(list, Json(), "list");
  EXPECT_FALSE(list.has_value());
}

TEST(Fields, UnknownKeyNamesTheNearest) {
  Outer o;
  const auto error = [&](const char* json) {
    return usage_error_of([&] { value_from_json(o, Json::parse(json), "config"); });
  };
  EXPECT_EQ(error(R"({"color":"red"})"), "config has no key 'color'; did you mean 'colour'?");
  EXPECT_EQ(error(R"({"inner":{"rates":1}})"), "config.inner has no key 'rates'; did you mean 'rate'?");
  EXPECT_EQ(error(R"({"quite_another":1})"), "config has no key 'quite_another'");
}

TEST(Fields, WrongTypesAreErrorsThatNameThePlace) {
  const auto error = [](const char* json) {
    Outer o;
    return usage_error_of([&] { value_from_json(o, Json::parse(json), "config"); });
  };
  EXPECT_EQ(error(R"({"on":1})"), "config.on must be true or false, got 1");
  EXPECT_EQ(error(R"({"count":1.5})"), "config.count must be a whole number, got 1.5");
  EXPECT_EQ(error(R"({"count":"3"})"), "config.count must be a whole number, got \"3\"");
  EXPECT_EQ(error(R"({"count":18446744073709551615})"),
            "config.count must be at most 9223372036854775807, got 18446744073709551615");
  EXPECT_EQ(error(R"({"name":3})"), "config.name must be a string, got 3");
  EXPECT_EQ(error(R"({"colour":"green"})"), "config.colour must be red|blue, got 'green'");
  EXPECT_EQ(error(R"({"colour":3})"), "config.colour must be red|blue, got 3");
  EXPECT_EQ(error(R"({"inner":3})"), "config.inner must be an object, got 3");
  EXPECT_EQ(error(R"({"inner":{"rate":"fast"}})"), "config.inner.rate must be a number, got \"fast\"");
  EXPECT_EQ(error(R"({"inner":{"levels":3}})"), "config.inner.levels must be a list, got 3");
  EXPECT_EQ(error(R"({"inner":{"levels":null}})"), "config.inner.levels must be a list, got null");
  EXPECT_EQ(error(R"({"inner":{"levels":{"0":3}}})"), "config.inner.levels must be a list, got {\"0\":3}");
  EXPECT_EQ(error(R"({"inner":{"levels":"3"}})"), "config.inner.levels must be a list, got \"3\"");
  EXPECT_EQ(error(R"({"inner":{"levels":[1,"2"]}})"), "config.inner.levels[] must be a whole number, got \"2\"");
  EXPECT_EQ(error("[]"), "config must be an object, got []");
}

TEST(Fields, SetReachesNestedKeysAndReadsEveryType) {
  Outer o;
  set_field(o, "on=true");
  set_field(o, "count=12");
  set_field(o, "colour=blue");
  set_field(o, "name=a=b");
  set_field(o, "inner.rate=1e-3");
  set_field(o, "inner.levels=[0,4,9]");
  EXPECT_TRUE(o.on);
  EXPECT_EQ(o.count, 12);
  EXPECT_EQ(o.colour, Colour::kBlue);
  EXPECT_EQ(o.name, "a=b");
  EXPECT_EQ(o.inner.rate, 1e-3);
  EXPECT_EQ(o.inner.levels, (std::vector<int64_t>{0, 4, 9}));
}

TEST(Fields, SetErrors) {
  const auto error = [](const std::string& text) {
    Outer o;
    return usage_error_of([&] { set_field(o, text); });
  };
  EXPECT_EQ(error("count"), "`set` takes key=value, got 'count'");
  EXPECT_EQ(error("=3"), "`set` takes key=value, got '=3'");
  EXPECT_EQ(error("cuont=3"), "`set` has no key 'cuont'; did you mean 'count'?");
  EXPECT_EQ(error("inner.rat=3"), "`set`.inner has no key 'rat'; did you mean 'rate'?");
  EXPECT_EQ(error("count=many"), "`set`.count must be a whole number, got \"many\"");
  EXPECT_EQ(error("inner=3"), "`set`.inner must be an object, got 3");
}

TEST(Fields, NearestName) {
  const std::vector<std::string> names{"rate", "levels", "label"};
  EXPECT_EQ(nearest_name("level", names), "levels");
  EXPECT_EQ(nearest_name("lable", names), "label");
  EXPECT_EQ(nearest_name("temperature", names), "");
  EXPECT_EQ(nearest_name("rate", {}), "");
}

TEST(Enums, NamesAndErrors) {
  EXPECT_EQ(enum_name(Colour::kBlue), "blue");
  EXPECT_EQ(parse_enum<Colour>("red", "--colour"), Colour::kRed);
  EXPECT_EQ(usage_error_of([] { parse_enum<Colour>("Red", "--colour"); }), "--colour must be red|blue, got 'Red'");
  EXPECT_CONTAINS(error_of([] { enum_name(static_cast<Colour>(7)); }), "7");
}

TEST(Json, ErrorsNameTheFileTheLineAndTheColumn) {
  EXPECT_EQ(error_of([] { parse_json("{\n  \"a\": 1,\n  b\n}", "x.json"); }),
            "x.json is not valid JSON: line 3, column 3");
  EXPECT_CONTAINS(error_of([] { parse_json("", "x.json"); }), "x.json is not valid JSON: line 1");
  EXPECT_CONTAINS(error_of([] { parse_json("{\"a\":", "x.json"); }), "x.json is not valid JSON");
}

TEST(Json, FilesRoundTrip) {
  const test::TemporaryDirectory dir;
  const Json value = {{"b", 1}, {"a", {1.5, "x\n"}}};
  write_json(dir / "v.json", value);
  EXPECT_EQ(read_json(dir / "v.json"), value);
  EXPECT_EQ(read_json(dir / "v.json").dump(), value.dump());  // key order as well
  EXPECT_CONTAINS(error_of([&] { read_json(dir / "w.json"); }), "w.json");
}

}  // namespace
}  // namespace crescendo
