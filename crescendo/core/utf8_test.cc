#include "crescendo/core/utf8.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/number.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using namespace std::string_literals;
using test::error_of;

std::string utf16(const std::u16string& text, bool big_endian) {
  std::string out = big_endian ? "\xFE\xFF" : "\xFF\xFE";
  for (const char16_t c : text) {
    const char high = static_cast<char>(c >> 8), low = static_cast<char>(c & 0xFF);
    out += big_endian ? high : low;
    out += big_endian ? low : high;
  }
  return out;
}

std::string decoded(const std::string& bytes) { return decode_text(bytes, "f"); }

TEST(DecodeText, TakesMarksOffAndReadsUtf16) {
  EXPECT_EQ(decoded(""), "");
  EXPECT_EQ(decoded("red \xC3\xA9\r\n"), "red \xC3\xA9\r\n");
  EXPECT_EQ(decoded("\xEF\xBB\xBFred"), "red");
  EXPECT_EQ(decoded("\xEF\xBB\xBF"), "");
  EXPECT_EQ(decoded("\xEF\xBB\xBF\xEF\xBB\xBFred"), "\xEF\xBB\xBFred");  // the second is text
  for (const bool big_endian : {false, true}) {
    EXPECT_EQ(decoded(utf16(u"", big_endian)), "");
    EXPECT_EQ(decoded(utf16(u"a\u00E9\u20AC\U0001F600\n", big_endian)), "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\n");
    EXPECT_EQ(decoded(utf16({u'a', 0xD83D, u'b', 0xDE00}, big_endian)),
              "a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD");                                          // half pairs
    EXPECT_EQ(decoded(utf16(u"a", big_endian) + "b"), "a\xEF\xBF\xBD");  // half a unit
  }
}

TEST(DecodeText, RefusesWhatIsNoText) {
  EXPECT_CONTAINS(error_of([] { decoded("\xFF\xFE\0\0a\0\0\0"s); }), "f: is UTF-32 text; save it as UTF-8");
  EXPECT_CONTAINS(error_of([] { decoded("\0\0\xFE\xFF\0\0\0a"s); }), "UTF-32");
  EXPECT_CONTAINS(error_of([] { decoded("r\0e\0d\0"s); }), "UTF-16 without a byte-order mark");
}

TEST(ReadTextFile, IsAlwaysUtf8) {
  const test::TemporaryDirectory dir;
  write_file_atomically(dir / "f", "a\ncaf\xE9\n");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(read_text_file(dir / "f"), "a\ncaf\xEF\xBF\xBD\n");
  EXPECT_CONTAINS(::testing::internal::GetCapturedStderr(), "f: line 2 is not UTF-8");
}

TEST(TextLines, EndInAnyOfThreeWays) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(text_lines(""), Lines{});
  EXPECT_EQ(text_lines("a"), Lines{"a"});
  EXPECT_EQ(text_lines("a\nb\r\nc\rd\n"), (Lines{"a", "b", "c", "d"}));
  EXPECT_EQ(text_lines("\n\r\n\r"), (Lines{"", "", ""}));
  EXPECT_EQ(text_lines("a\n\n"), (Lines{"a", ""}));
}

TEST(Printable, LeavesOneLineThatATerminalShows) {
  EXPECT_EQ(printable("caf\xC3\xA9\tok"), "caf\xC3\xA9\tok");
  EXPECT_EQ(printable("a\nb\rc\x1b[31m\x7f"), "a\\nb\\rc\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "1m"),
            "\\x9b1m");  // a terminal's other way to begin a sequence
  EXPECT_EQ(printable("caf\xE9"), "caf\xEF\xBF\xBD");
  EXPECT_EQ(printable("\0"s), "\\x00");
}

TEST(CleanText, IsWithoutMarkAndUtf8) {
  EXPECT_EQ(clean_text("\xEF\xBB\xBFred"), "red");
  EXPECT_EQ(clean_text("caf\xE9"), "caf\xEF\xBF\xBD");
}

TEST(ParseNumber, IsDecimalAndWhole) {
  EXPECT_EQ(parse_number<int64_t>("0042"), 42);
  EXPECT_EQ(parse_number<int64_t>("010"), 10);
  EXPECT_EQ(parse_number<int64_t>("-3"), -3);
  EXPECT_EQ(parse_number<int64_t>("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parse_number<uint64_t>("18446744073709551615"), UINT64_MAX);
  for (const char* text : {"", " 5", "5 ", "+5", "0x10", "1e3", "1.0", "five", "5,000", "18446744073709551616"}) {
    EXPECT_EQ(parse_number<int64_t>(text), std::nullopt) << text;
    EXPECT_EQ(parse_number<uint64_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_number<int64_t>("9223372036854775808"), std::nullopt);
  EXPECT_EQ(parse_number<uint64_t>("-1"), std::nullopt);
  EXPECT_EQ(parse_number<double>("2.50"), 2.5);
  EXPECT_EQ(parse_number<double>("1e3"), 1000);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "0x1p3", " 1", "1.5x"})
    EXPECT_EQ(parse_number<double>(text), std::nullopt) << text;
}

}  // namespace
}  // namespace crescendo
