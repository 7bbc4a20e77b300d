#include "crescendo/text/bpe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"
#include "crescendo/text/bpe_train.h"
#include "crescendo/text/pretokenize.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using Ids = std::vector<int64_t>;
using Pieces = std::vector<std::string>;

Pieces split(const RegexSplitter& splitter, std::string_view text) {
  Pieces pieces;
  splitter.split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

// A tokenizer whose bytes have the ids 0..255 (id = byte), with the given merges; then tokens from 300 on.
Json small_tokenizer(const std::vector<std::pair<std::string, std::string>>& merges) {
  Json vocab = Json::object();
  for (unsigned b = 0; b < 256; ++b) vocab[byte_spelling(static_cast<unsigned char>(b))] = b;
  Json list = Json::array();
  int id = 256;
  for (const auto& [left, right] : merges) {
    vocab[left + right] = id++;
    list.push_back(left + " " + right);
  }
  return {{"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             Json::array({{{"type", "Split"}, {"pattern", {{"Regex", kQwen2Split}}}, {"behavior", "Isolated"}},
                          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}})}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}},
          {"added_tokens",
           Json::array({{{"id", 300}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
                        {{"id", 301}, {"content", "<|end|>>"}, {"special", true}, {"normalized", false}}})}};
}

Bpe make_bpe(const Json& tokenizer, const std::string& config = R"({"pad_token": "<|end|>"})") {
  return Bpe({tokenizer.dump(), config}, "test");
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
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
  EXPECT_NE(error_of([] { RegexSplitter("(", false, "file"); }).find("file: cannot use the pattern '('"),
            std::string::npos);
}

TEST(Bpe, MergesByRankLeftmostFirst) {
  const Bpe bpe = make_bpe(small_tokenizer({{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "a"}}));
  EXPECT_EQ(bpe.encode("abc"), (Ids{'a', 256}));    // bc before ab
  EXPECT_EQ(bpe.encode("abab"), (Ids{257, 257}));   //
  EXPECT_EQ(bpe.encode("aaaaa"), (Ids{258, 259}));  // aa aa a -> aa aaa: the pair (aa, a) is at the end
  EXPECT_EQ(bpe.encode("a bc"), (Ids{'a', ' ', 256}));
  EXPECT_EQ(bpe.encode(""), Ids{});
}

TEST(Bpe, MatchesAddedTokensFirstAndLongest) {
  const Bpe bpe = make_bpe(small_tokenizer({}));
  EXPECT_EQ(bpe.encode("<|end|>a<|end|>><|end|"), (Ids{300, 'a', 301, '<', '|', 'e', 'n', 'd', '|'}));
  EXPECT_EQ(bpe.decode(Ids{300, 'a', 301}), "<|end|>a<|end|>>");
  EXPECT_EQ(bpe.vocab_size(), 302);
  EXPECT_EQ(bpe.pad_id(), 300);
  EXPECT_EQ(bpe.token_id("<|end|>>"), 301);
  EXPECT_EQ(bpe.token_id("nothing"), std::nullopt);
}

TEST(Bpe, DecodesWhatItEncodes) {
  const Bpe bpe = make_bpe(small_tokenizer({{"\xC3\x83", "\xC2\xA9"}}));  // the two bytes of e acute
  EXPECT_EQ(bpe.encode("\xC3\xA9"), Ids{256});
  const std::string text("caf\xC3\xA9 \xE6\x9D\xB1 \xF0\x9F\x98\x80\n\t \0 end", 22);
  EXPECT_EQ(bpe.decode(bpe.encode(text)), text);
  EXPECT_EQ(bpe.decode(Ids{0xE6, 0x9D, 'a'}),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(bpe.encode("\xFF"), (Ids{0xEF, 0xBF, 0xBD}));
  EXPECT_NE(error_of([&] { bpe.decode(Ids{299}); }).find("no token with the id 299"), std::string::npos);
  EXPECT_NE(error_of([&] { bpe.decode(Ids{-1}); }).find("no token with the id -1"), std::string::npos);
}

TEST(Bpe, NamesWhatItDoesNotSupport) {
  const auto error_with = [](const char* pointer, const Json& value) {
    Json tokenizer = small_tokenizer({});
    tokenizer[Json::json_pointer(pointer)] = value;
    return error_of([&] { make_bpe(tokenizer); });
  };
  EXPECT_NE(error_with("/normalizer/type", "Lowercase").find("normalizer 'Lowercase' is not supported"),
            std::string::npos);
  EXPECT_NE(error_with("/pre_tokenizer", {{"type", "Metaspace"}}).find("pre-tokenizer 'Metaspace' is not supported"),
            std::string::npos);
  EXPECT_NE(error_with("/model/type", "Unigram").find("model 'Unigram' is not supported"), std::string::npos);
  EXPECT_NE(error_with("/model/end_of_word_suffix", "</w>").find("'end_of_word_suffix' = \"</w>\""), std::string::npos);
  EXPECT_NE(error_with("/pre_tokenizer/pretokenizers/0/behavior", "Removed").find("Split behavior 'Removed'"),
            std::string::npos);
  EXPECT_NE(error_with("/added_tokens/0/lstrip", true).find("added token '<|end|>': 'lstrip' = true"),
            std::string::npos);
  EXPECT_NE(error_with("/post_processor", {{"type", "BertProcessing"}}).find("'BertProcessing'"), std::string::npos);
  EXPECT_NE(error_with("/model/merges", Json::array({"a b"})).find("'ab' is not in the vocabulary"), std::string::npos);
  EXPECT_NE(error_with("/model/vocab/a", -1).find("must be a whole number in 0.."), std::string::npos);
  EXPECT_NE(error_with("/model/vocab/a", 98).find("id 98 is given twice"), std::string::npos);
  EXPECT_NE(error_with("/model", 3).find("must be an object"), std::string::npos);
  Json lacking = small_tokenizer({});
  lacking["model"]["vocab"].erase("a");
  EXPECT_NE(error_of([&] { make_bpe(lacking); }).find("lacks the tokens of these bytes"), std::string::npos);
  EXPECT_NE(error_of([] { Bpe({"{", ""}, "test"); }).find("test/tokenizer.json is not valid JSON"), std::string::npos);
  EXPECT_NE(error_of([] { make_bpe(small_tokenizer({}), R"({"pad_token": "<pad>"})"); }).find("pad_token '<pad>'"),
            std::string::npos);
  EXPECT_NE(error_of([] { make_bpe(small_tokenizer({}), "").pad_id(); }).find("names no pad_token"), std::string::npos);
}

TEST(Bpe, SequencesThatChangeNothingAreRead) {
  const auto ids_with = [](const char* pointer, const Json& value) {
    Json tokenizer = small_tokenizer({{"a", "b"}});
    tokenizer[Json::json_pointer(pointer)] = value;
    return make_bpe(tokenizer).encode("ab 12");
  };
  const Ids expected{256, ' ', '1', '2'};
  const auto sequence = [](const char* list, const Json& items) { return Json{{"type", "Sequence"}, {list, items}}; };
  const Json bytes{{"type", "ByteLevel"}, {"use_regex", false}};
  const Json split{
      {"type", "Split"}, {"pattern", {{"Regex", kQwen2Split}}}, {"behavior", "Isolated"}, {"invert", true}};
  const Json bare{{"type", "TemplateProcessing"},
                  {"single", Json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})}};
  EXPECT_EQ(ids_with("/post_processor", sequence("processors", Json::array({bytes}))), expected);
  EXPECT_EQ(ids_with("/post_processor", sequence("processors", Json::array({bytes, bare}))), expected);
  EXPECT_EQ(ids_with("/normalizer", sequence("normalizers", Json::array({Json{{"type", "NFC"}}}))), expected);
  EXPECT_EQ(ids_with("/decoder", sequence("decoders", Json::array({bytes}))), expected);
  EXPECT_EQ(ids_with("/pre_tokenizer",
                     sequence("pretokenizers", Json::array({split, sequence("pretokenizers", Json::array({bytes}))}))),
            expected);
  EXPECT_EQ(
      ids_with("/pre_tokenizer/pretokenizers/0",
               {{"type", "Split"}, {"pattern", {{"Regex", kQwen2Split}}}, {"behavior", "Removed"}, {"invert", true}}),
      expected);
  Json adding = bare;
  adding["single"].push_back({{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}});
  EXPECT_NE(error_of([&] {
              ids_with("/post_processor", sequence("processors", Json::array({bytes, adding})));
            }).find("a TemplateProcessing that adds tokens"),
            std::string::npos);
}

TEST(Bpe, MatchesTheTokenizerFixture) {
  CRESCENDO_NEEDS_SHARED("fixtures/tokenizer_micro");
  const auto folder = test::shared_path("fixtures/tokenizer_micro");
  const Bpe bpe = Bpe::load(folder);
  size_t texts = 0;
  for (const Json& item : read_json(folder / "expected_ids.json")) {
    EXPECT_EQ(bpe.encode(item["text"].get<std::string>()), item["ids"].get<Ids>()) << item["text"];
    ++texts;
  }
  EXPECT_GT(texts, 50u);
  EXPECT_EQ(bpe.vocab_size(), 1459);
  EXPECT_EQ(bpe.pad_id(), 1456);
}

TEST(BpeTrain, LearnsTheMostFrequentPairs) {
  const std::vector<std::string> texts{"low low low lower", "newest newest", "widest"};
  const TokenizerFiles files = train_bpe(texts, 259 + 4);
  const Json merges = parse_json(files.tokenizer_json, "trained")["model"]["merges"];
  // (l, o) and (o, w) occur 4 times, and l has the smaller id; then (lo, w) 4 times. Then (e, s), (s, t) and
  // (space, low) occur 3 times: e = 68 is smallest, and after it the space, 220, comes before es, 258.
  ASSERT_EQ(merges.size(), 4u);
  EXPECT_EQ(merges[0], "l o");
  EXPECT_EQ(merges[1], "lo w");
  EXPECT_EQ(merges[2], "e s");
  EXPECT_EQ(merges[3], "\xC4\xA0 low");
  const Bpe bpe(files, "trained");
  EXPECT_EQ(bpe.vocab_size(), 263);
  EXPECT_EQ(bpe.pad_id(), 260);
  EXPECT_EQ(bpe.token_id("!"), 0);  // Qwen2's first token
  EXPECT_EQ(bpe.encode("low").size(), 1u);
  EXPECT_EQ(bpe.encode("<|im_start|>low"), (Ids{261, 257}));
}

TEST(BpeTrain, StopsWherePairsAreUnique) {
  const Bpe bpe(train_bpe(std::vector<std::string>{"abc"}, 1000), "trained");
  EXPECT_EQ(bpe.vocab_size(), 259);
  EXPECT_NE(error_of([] { train_bpe(std::vector<std::string>{}, 258); }).find("must be in 259.."), std::string::npos);
}

TEST(BpeTrain, IsRepeatableAndRoundTripsThroughFiles) {
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i)
    texts.push_back(
        concat("A photo of ", i % 7, " red cats and a ", i % 2 ? "dog" : "gr\xC3\xBCner Hund", " number ", i));
  const TokenizerFiles files = train_bpe(texts, 400);
  EXPECT_EQ(files.tokenizer_json, train_bpe(texts, 400).tokenizer_json);
  const auto folder = std::filesystem::temp_directory_path() / concat("crescendo_bpe_", ::getpid());
  files.write(folder);
  const Bpe bpe = Bpe::load(folder);
  std::filesystem::remove_all(folder);
  EXPECT_LE(bpe.vocab_size(), 400);
  for (const auto& text : texts) {
    const Ids ids = bpe.encode(text);
    EXPECT_EQ(bpe.decode(ids), text);
    EXPECT_LT(ids.size(), text.size() / 2);
  }
}

double megabytes_per_second(const Bpe& bpe, const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(bpe.encode(text).empty());
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return static_cast<double>(text.size()) / 1e6 / time.count();
}

// Not a benchmark: the bounds are a tenth of what a slow machine reaches, and would catch quadratic behaviour.
TEST(Bpe, EncodesLongTextsInLinearTime) {
  std::string words, mixed, word, spaces, letters = "etaoinshrdlu";
  for (unsigned i = 0, r = 1; words.size() < 1'000'000; ++i) {
    r = r * 1664525u + 1013904223u;
    for (unsigned j = 0; j < 3 + (r >> 28); ++j) words += letters[(r >> (j % 20)) % letters.size()];
    words += i % 12 ? " " : ".\n";
  }
  for (int i = 0; mixed.size() < 500'000; ++i)
    mixed += concat("\xE6\x9D\xB1\xE4\xBA\xAC ", i, " \xD0\xBA\xD0\xBE\xD1\x82 caf", "e\xCC\x81 ");
  word = std::string(1'000'000, 'e');
  spaces = std::string(1'000'000, ' ') + "x";
  const Bpe bpe(train_bpe(std::vector<std::string>{words.substr(0, 100'000), mixed.substr(0, 50'000)}, 2000), "t");
  const std::string fresh = words.substr(200'000);
  std::cout << "MB/s: words, pieces unseen " << megabytes_per_second(bpe, fresh);
  std::cout << ", seen " << megabytes_per_second(bpe, fresh);
  std::cout << ", mixed scripts " << megabytes_per_second(bpe, mixed);
  const double one_word = megabytes_per_second(bpe, word), one_space = megabytes_per_second(bpe, spaces);
  std::cout << ", one word of 1 MB " << one_word << ", 1 MB of spaces " << one_space << "\n";
  EXPECT_GT(one_word, 0.05);
  EXPECT_GT(one_space, 0.05);
}

TEST(Bpe, MayBeUsedBySeveralThreads) {
  const Bpe bpe = make_bpe(small_tokenizer({{"b", "c"}, {"a", "b"}}));
  std::string text;
  for (int i = 0; i < 2000; ++i) text += concat("abc bcb ", i, " ");
  const Ids expected = bpe.encode(text);
  std::vector<std::thread> threads;
  std::vector<Ids> got(4);
  for (Ids& ids : got) threads.emplace_back([&] { ids = bpe.encode(text); });
  for (auto& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace crescendo
