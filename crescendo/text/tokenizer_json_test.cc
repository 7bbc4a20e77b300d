#include "crescendo/text/tokenizer_json.h"

#include <gtest/gtest.h>

#include "crescendo/text/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using Ids = std::vector<int64_t>;
using test::bpe_of;
using test::error_of;
using test::small_tokenizer;

TEST(TokenizerJson, NamesWhatItDoesNotSupport) {
  const auto error_with = [](const char* pointer, const Json& value) {
    Json tokenizer = small_tokenizer({});
    tokenizer[Json::json_pointer(pointer)] = value;
    return error_of([&] { bpe_of(tokenizer); });
  };
  EXPECT_CONTAINS(error_with("/normalizer/type", "Lowercase"), "normalizer 'Lowercase' is not supported");
  EXPECT_CONTAINS(error_with("/pre_tokenizer", {{"type", "Metaspace"}}), "pre-tokenizer 'Metaspace' is not supported");
  EXPECT_CONTAINS(error_with("/model/type", "Unigram"), "model 'Unigram' is not supported");
  EXPECT_CONTAINS(error_with("/model/end_of_word_suffix", "</w>"), "'end_of_word_suffix' = \"</w>\"");
  EXPECT_CONTAINS(error_with("/pre_tokenizer/pretokenizers/0/behavior", "Removed"), "Split behavior 'Removed'");
  EXPECT_CONTAINS(error_with("/added_tokens/0/lstrip", true), "added token '<|end|>': 'lstrip' = true");
  EXPECT_CONTAINS(error_with("/post_processor", {{"type", "BertProcessing"}}), "'BertProcessing'");
  EXPECT_CONTAINS(error_with("/model/merges", Json::array({"a b"})), "'ab' is not in the vocabulary");
  EXPECT_CONTAINS(error_with("/model/vocab/a", -1), "must be a whole number in 0..");
  EXPECT_CONTAINS(error_with("/model/vocab/a", 98), "id 98 is given twice");
  EXPECT_CONTAINS(error_with("/model", 3), "must be an object");
  Json lacking = small_tokenizer({});
  lacking["model"]["vocab"].erase("a");
  EXPECT_CONTAINS(error_of([&] { bpe_of(lacking); }), "lacks the tokens of these bytes");
  EXPECT_CONTAINS(error_of([] { make_bpe({"{", ""}, "test"); }), "test/tokenizer.json is not valid JSON");
  EXPECT_CONTAINS(error_of([] { bpe_of(small_tokenizer({}), R"({"pad_token": "<pad>"})"); }), "pad_token '<pad>'");
  EXPECT_CONTAINS(error_of([] { bpe_of(small_tokenizer({}), "").pad_id(); }), "names no pad_token");
}

TEST(TokenizerJson, SequencesThatChangeNothingAreRead) {
  const auto ids_with = [](const char* pointer, const Json& value) {
    Json tokenizer = small_tokenizer({{"a", "b"}});
    tokenizer[Json::json_pointer(pointer)] = value;
    return bpe_of(tokenizer).encode("ab 12");
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
  EXPECT_CONTAINS(error_of([&] {
                    ids_with("/post_processor", sequence("processors", Json::array({bytes, adding})));
                  }),
                  "a TemplateProcessing that adds tokens");
}

TEST(TokenizerJson, MatchesTheTokenizerFixture) {
  CRESCENDO_NEEDS_SHARED("fixtures/tokenizer_micro");
  const auto folder = test::shared_path("fixtures/tokenizer_micro");
  const Bpe bpe = load_bpe(folder);
  size_t texts = 0;
  for (const Json& item : read_json(folder / "expected_ids.json")) {
    EXPECT_EQ(bpe.encode(item["text"].get<std::string>()), item["ids"].get<Ids>()) << item["text"];
    ++texts;
  }
  EXPECT_GT(texts, 50u);
  EXPECT_EQ(bpe.vocab_size(), 1459);
  EXPECT_EQ(bpe.pad_id(), 1456);
}

}  // namespace
}  // namespace crescendo
