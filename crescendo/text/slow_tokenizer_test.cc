#include "crescendo/text/slow_tokenizer.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/text/tokenizer_json.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::TemporaryDirectory;
using Ids = std::vector<int64_t>;

// vocab.json of the bytes (id = byte) and of two merges, merges.txt, and a tokenizer_config.json of class `name`.
void write_slow(const TemporaryDirectory& dir, const std::string& name) {
  Json vocab = Json::object();
  for (unsigned b = 0; b < 256; ++b) vocab[byte_spelling(static_cast<unsigned char>(b))] = b;
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  write_json(dir / "vocab.json", vocab);
  write_file_atomically(dir / "merges.txt", "#version: 0.2\na b\nab c\n\n");
  write_json(dir / "tokenizer_config.json", {{"tokenizer_class", name}});
}

TEST(SlowTokenizer, Qwen2IsReadAsItsTokenizerJson) {
  const TemporaryDirectory dir;
  write_slow(dir, "Qwen2Tokenizer");
  write_json(dir / "tokenizer_config.json",
             {{"tokenizer_class", "Qwen2Tokenizer"},
              {"pad_token", "<|end|>"},
              {"added_tokens_decoder", {{"258", {{"content", "<|end|>"}, {"special", true}, {"normalized", false}}}}}});
  const Bpe bpe = load_bpe(dir / ".");
  EXPECT_EQ(bpe.encode("abc ab<|end|>"), (Ids{257, ' ', 256, 258}));
  EXPECT_EQ(bpe.encode("12"), (Ids{'1', '2'}));
  EXPECT_EQ(bpe.encode("e\xCC\x81"), (Ids{0xC3, 0xA9}));  // composed first
  EXPECT_EQ(bpe.pad_id(), 258);
  EXPECT_EQ(bpe.vocab_size(), 259);
  // What is written is read by who knows tokenizer.json alone.
  TokenizerFiles::read(dir / ".").write(dir / "copy");
  EXPECT_EQ(load_bpe(dir / "copy").encode("abc<|end|>"), (Ids{257, 258}));
}

TEST(SlowTokenizer, AddedTokensOfOlderFiles) {
  const TemporaryDirectory dir;
  write_slow(dir, "GPT2TokenizerFast");
  write_json(dir / "added_tokens.json", {{"<|end|>", 258}, {"plain", 259}});
  write_json(dir / "special_tokens_map.json", {{"eos_token", {{"content", "<|end|>"}}}, {"pad_token", "<|end|>"}});
  const Bpe bpe = load_bpe(dir / ".");
  EXPECT_EQ(bpe.encode("ab<|end|>plain"), (Ids{256, 258, 259}));
  EXPECT_EQ(bpe.encode("e\xCC\x81"), (Ids{'e', 0xCC, 0x81}));  // GPT-2 leaves text as it is
  EXPECT_EQ(bpe.pad_id(), 258);                                // named in the map alone
}

TEST(SlowTokenizer, WhatCannotBeDoneIsNamed) {
  const TemporaryDirectory dir;
  const auto error = [&] { return error_of([&] { load_bpe(dir / "."); }); };
  write_slow(dir, "LlamaTokenizer");
  EXPECT_CONTAINS(error(), "of a LlamaTokenizer are not supported");
  write_json(dir / "tokenizer_config.json", Json::object());
  EXPECT_CONTAINS(error(), "must name a tokenizer_class");
  write_json(dir / "config.json", {{"model_type", "qwen2"}});
  EXPECT_EQ(load_bpe(dir / ".").encode("ab"), Ids{256});
  write_json(dir / "tokenizer_config.json", {{"tokenizer_class", "Qwen2Tokenizer"}, {"pad_token", "<pad>"}});
  EXPECT_CONTAINS(error(), "pad_token is '<pad>', whose id stands neither in vocab.json");
  write_json(dir / "tokenizer_config.json", {{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", true}});
  EXPECT_CONTAINS(error(), "'add_prefix_space' = true is not supported");
  write_slow(dir, "Qwen2Tokenizer");
  write_file_atomically(dir / "merges.txt", "a b c\n");
  EXPECT_CONTAINS(error(), "merges.txt, line 1: a merge must be two tokens");
  write_file_atomically(dir / "vocab.json", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2776833\n");
  EXPECT_CONTAINS(error(), "a Git LFS pointer, not the file itself of 2776833 bytes");
  std::filesystem::remove(dir / "merges.txt");
  EXPECT_CONTAINS(error(), "tokenizer.json");
}

}  // namespace
}  // namespace crescendo
