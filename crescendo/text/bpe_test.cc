#include "crescendo/text/bpe.h"

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "crescendo/text/bpe_train.h"
#include "crescendo/text/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using Ids = std::vector<int64_t>;
using test::bpe_of;
using test::error_of;
using test::small_tokenizer;

TEST(Bpe, MergesByRankLeftmostFirst) {
  const Bpe bpe = bpe_of(small_tokenizer({{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "a"}}));
  EXPECT_EQ(bpe.encode("abc"), (Ids{'a', 256}));    // bc before ab
  EXPECT_EQ(bpe.encode("abab"), (Ids{257, 257}));   //
  EXPECT_EQ(bpe.encode("aaaaa"), (Ids{258, 259}));  // aa aa a -> aa aaa: the pair (aa, a) is at the end
  EXPECT_EQ(bpe.encode("a bc"), (Ids{'a', ' ', 256}));
  EXPECT_EQ(bpe.encode(""), Ids{});
}

TEST(Bpe, MatchesAddedTokensFirstAndLongest) {
  const Bpe bpe = bpe_of(small_tokenizer({}));
  EXPECT_EQ(bpe.encode("<|end|>a<|end|>><|end|"), (Ids{300, 'a', 301, '<', '|', 'e', 'n', 'd', '|'}));
  EXPECT_EQ(bpe.decode(Ids{300, 'a', 301}), "<|end|>a<|end|>>");
  EXPECT_EQ(bpe.vocab_size(), 302);
  EXPECT_EQ(bpe.pad_id(), 300);
  EXPECT_EQ(bpe.token_id("<|end|>>"), 301);
  EXPECT_EQ(bpe.token_id("nothing"), std::nullopt);
}

TEST(Bpe, DecodesWhatItEncodes) {
  const Bpe bpe = bpe_of(small_tokenizer({{"\xC3\x83", "\xC2\xA9"}}));  // the two bytes of e acute
  EXPECT_EQ(bpe.encode("\xC3\xA9"), Ids{256});
  const std::string text("caf\xC3\xA9 \xE6\x9D\xB1 \xF0\x9F\x98\x80\n\t \0 end", 22);
  EXPECT_EQ(bpe.decode(bpe.encode(text)), text);
  EXPECT_EQ(bpe.decode(Ids{0xE6, 0x9D, 'a'}),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(bpe.encode("\xFF"), (Ids{0xEF, 0xBF, 0xBD}));
  EXPECT_CONTAINS(error_of([&] { bpe.decode(Ids{299}); }), "no token with the id 299");
  EXPECT_CONTAINS(error_of([&] { bpe.decode(Ids{-1}); }), "no token with the id -1");
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
  const Bpe bpe = make_bpe(files, "trained");
  EXPECT_EQ(bpe.vocab_size(), 263);
  EXPECT_EQ(bpe.pad_id(), 260);
  EXPECT_EQ(bpe.token_id("!"), 0);  // Qwen2's first token
  EXPECT_EQ(bpe.encode("low").size(), 1u);
  EXPECT_EQ(bpe.encode("<|im_start|>low"), (Ids{261, 257}));
}

TEST(BpeTrain, StopsWherePairsAreUnique) {
  const Bpe bpe = make_bpe(train_bpe(std::vector<std::string>{"abc"}, 1000), "trained");
  EXPECT_EQ(bpe.vocab_size(), 259);
  EXPECT_CONTAINS(error_of([] { train_bpe(std::vector<std::string>{}, 258); }), "must be in 259..");
}

TEST(BpeTrain, IsRepeatableAndRoundTripsThroughFiles) {
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i)
    texts.push_back(
        concat("A photo of ", i % 7, " red cats and a ", i % 2 ? "dog" : "gr\xC3\xBCner Hund", " number ", i));
  const TokenizerFiles files = train_bpe(texts, 400);
  EXPECT_EQ(files.tokenizer_json, train_bpe(texts, 400).tokenizer_json);
  const test::TemporaryDirectory dir;
  files.write(dir / "bpe");
  const Bpe bpe = load_bpe(dir / "bpe");
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
  const Bpe bpe =
      make_bpe(train_bpe(std::vector<std::string>{words.substr(0, 100'000), mixed.substr(0, 50'000)}, 2000), "t");
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
  const Bpe bpe = bpe_of(small_tokenizer({{"b", "c"}, {"a", "b"}}));
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
