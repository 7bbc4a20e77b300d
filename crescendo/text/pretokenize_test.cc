#include "crescendo/text/pretokenize.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "crescendo/core/utf8.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const RegexSplitter& splitter, std::string_view text) {
  Pieces pieces;
  splitter.split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(Pretokenize, ReplacesInvalidUtf8ByMaximalSubparts) {
  EXPECT_EQ(replace_invalid_utf8("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(replace_invalid_utf8("a\xFF"
                                 "b"),
            "a\xEF\xBF\xBD"
            "b");
  // Unicode 15, table 3-11: F1 80 80 | E1 80 | C2 are each one piece that began a character.
  EXPECT_EQ(replace_invalid_utf8("a\xF1\x80\x80\xE1\x80\xC2"
                                 "b\x80"
                                 "c\x80\xBF"
                                 "d"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
            "b\xEF\xBF\xBD"
            "c\xEF\xBF\xBD\xEF\xBF\xBD"
            "d");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate: three
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), "\xEF\xBF\xBD");
  EXPECT_TRUE(is_valid_utf8("\xF4\x8F\xBF\xBF"));
  EXPECT_FALSE(is_valid_utf8("\xF4\x90\x80\x80"));
  EXPECT_FALSE(is_valid_utf8("\xC0\x80"));
}

TEST(Pretokenize, ComposesToNfc) {
  EXPECT_EQ(to_nfc("e\xCC\x81"), "\xC3\xA9");                                        // e + acute
  EXPECT_EQ(to_nfc("\xE2\x84\xAB"), "\xC3\x85");                                     // Angstrom sign
  EXPECT_EQ(to_nfc("\xEF\xAC\x81"), "\xEF\xAC\x81");                                 // a ligature stays
  EXPECT_EQ(to_nfc("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "\xED\x95\x9C");         // Hangul
  EXPECT_EQ(to_nfc(std::string("a\0e\xCC\x81", 5)), std::string("a\0\xC3\xA9", 4));  // through a zero byte
}

TEST(Pretokenize, SplitsAsQwen2) {
  const RegexSplitter splitter(kQwen2Split, false, "test");
  EXPECT_EQ(split(splitter, "It's 12 o'CLOCK, WE'VE"),
            (Pieces{"It", "'s", " ", "1", "2", " o", "'CLOCK", ",", " WE", "'VE"}));
  EXPECT_EQ(split(splitter, "  a\n\n b   "), (Pieces{" ", " a", "\n\n", " b", "   "}));
  EXPECT_EQ(split(splitter, "x!?\r\ny"), (Pieces{"x", "!?\r\n", "y"}));
  // U+0085 is white space and U+180E is not, whatever the regex library thinks of \s.
  EXPECT_EQ(split(splitter, "!\xC2\x85!"), (Pieces{"!", "\xC2\x85", "!"}));
  EXPECT_EQ(split(splitter, "!\xE1\xA0\x8E!"), (Pieces{"!\xE1\xA0\x8E!"}));
  EXPECT_TRUE(split(splitter, "").empty());
}

TEST(Pretokenize, KeepsWhatAPatternDoesNotMatch) {
  EXPECT_EQ(split(RegexSplitter("b+", false, "test"), "abbcb"), (Pieces{"a", "bb", "c", "b"}));
  EXPECT_EQ(split(RegexSplitter("b*", false, "test"),
                  "a\xC3\xA9"
                  "bb"),
            (Pieces{"a\xC3\xA9", "bb"}));                                             // empty matches
  EXPECT_EQ(split(RegexSplitter("a.", true, "test"), "a.ab"), (Pieces{"a.", "ab"}));  // literal
  EXPECT_CONTAINS(test::error_of([] { RegexSplitter("(", false, "file"); }), "file: cannot use the pattern '('");
}

}  // namespace
}  // namespace crescendo
