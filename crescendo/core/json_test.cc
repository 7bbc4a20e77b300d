#include "crescendo/core/json.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

TEST(JsonText, IsUtf8WhateverAStringHolds) {
  EXPECT_EQ(json_text({{"a", "caf\xE9"}}), "{\"a\":\"caf\xEF\xBF\xBD\"}");
  EXPECT_EQ(json_text({{"caf\xE9", 1}}, 2), "{\n  \"caf\xEF\xBF\xBD\": 1\n}");
  EXPECT_EQ(json_text("a\nb"), "\"a\\nb\"");
}

TEST(ReadJson, ReadsWhatEditorsWrite) {
  const test::TemporaryDirectory dir;
  using namespace std::string_literals;
  for (const auto& bytes : {"{\"a\": 1}"s, "\xEF\xBB\xBF{\"a\": 1}\r\n"s,
                            "\xFF\xFE{\0\"\0a\0\"\0:\0 \0"
                            "1\0}\0"s,
                            "\xFE\xFF\0{\0\"\0a\0\"\0:\0 \0"
                            "1\0}"s}) {
    write_file_atomically(dir / "c.json", bytes);
    EXPECT_EQ(read_json(dir / "c.json"), Json({{"a", 1}})) << ::testing::PrintToString(bytes);
  }
}

TEST(ParseJson, SaysWhatIsWrongInWordsOfOurs) {
  EXPECT_EQ(error_of([] { parse_json("{\"a\": \"caf\xE9\"}", "c"); }),
            "c is not valid JSON: line 1, column 12 (a string that is not UTF-8)");
  EXPECT_CONTAINS(error_of([] { parse_json("[1e999]", "c"); }), "a number beyond all");
}

}  // namespace
}  // namespace crescendo
