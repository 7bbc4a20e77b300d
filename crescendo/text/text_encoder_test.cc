#include "crescendo/text/text_encoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/text/bpe_train.h"

namespace crescendo {
namespace {

constexpr int64_t kPositions = 12;

TokenizerFiles files() {
  return train_bpe(std::vector<std::string>{"a red cat and a red dog", "a blue cat, a blue dog"}, 270);
}

Qwen2Config config(int64_t vocabulary) {
  Qwen2Config c;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 4;
  c.vocab_size = vocabulary;
  return c;
}

TextEncoder encoder(const std::string& system_prompt) {
  const Bpe tokenizer = make_bpe(files(), "test");
  const Qwen2Config c = config(tokenizer.vocab_size());
  TensorMap weights = random_qwen2_weights(c, 5);
  for (auto& [name, tensor] : weights)
    if (tensor.dim() == 2) tensor.mul_(20.0);  // as wide as trained weights, so that positions and words tell
  return TextEncoder(tokenizer, Qwen2(c, weights), system_prompt, kPositions);
}

TEST(TextEncoder, PutsTheSystemPromptInFrontAndPadsOnTheRight) {
  const TextEncoder e = encoder("draw:\n");
  const auto system = e.tokenizer().encode("draw:\n"), user = e.tokenizer().encode("a red cat");
  const int64_t prefix = static_cast<int64_t>(system.size()), length = static_cast<int64_t>(user.size());
  const TextTokens tokens = e.tokenize(std::vector<std::string>{"a red cat", ""});
  ASSERT_EQ(tokens.input_ids.sizes(), (at::IntArrayRef{2, prefix + kPositions}));
  EXPECT_TRUE(at::equal(tokens.input_ids[0].slice(0, 0, prefix), at::tensor(system)));
  EXPECT_TRUE(at::equal(tokens.input_ids[0].slice(0, prefix, prefix + length), at::tensor(user)));
  EXPECT_TRUE(tokens.input_ids[0].slice(0, prefix + length).eq(e.tokenizer().pad_id()).all().item<bool>());
  EXPECT_EQ(tokens.attention_mask.sum(1).select(0, 0).item<int64_t>(), prefix + length);
  EXPECT_EQ(tokens.attention_mask.sum(1).select(0, 1).item<int64_t>(), prefix);
  EXPECT_EQ(tokens.cut, (std::vector<std::string>{"", ""}));
}

TEST(TextEncoder, StatesAreThoseOfTheUserPositions) {
  const TextEncoder e = encoder("draw:\n");
  const std::vector<std::string> prompts{"a red cat"};
  const TextTokens tokens = e.tokenize(prompts);
  const Tensor all = e.tower().forward(tokens.input_ids, tokens.attention_mask);
  const Tensor got = e.encode(prompts);
  ASSERT_EQ(got.sizes(), (at::IntArrayRef{1, kPositions, 16}));
  EXPECT_TRUE(at::equal(got[0], all[0].slice(0, -kPositions)));
  // The system prompt reaches the states, and so does the prompt reach the padded ones.
  EXPECT_FALSE(at::allclose(got, encoder("say:\n").encode(prompts), 1e-3, 1e-3));
  const Tensor other = e.encode(std::vector<std::string>{"a red dog"});
  EXPECT_FALSE(at::allclose(got[0][kPositions - 1], other[0][kPositions - 1], 1e-3, 1e-3));
}

TEST(TextEncoder, HidesPadTokensAsKeys) {
  const TextEncoder e = encoder("draw:\n");
  const TextTokens tokens = e.tokenize(std::vector<std::string>{"a red cat"});
  TextTokens changed = tokens;  // another token where the padding was, hidden as the padding is
  changed.input_ids = at::where(tokens.attention_mask.eq(0), at::full_like(tokens.input_ids, 7), tokens.input_ids);
  changed.input_ids.select(1, -1).copy_(tokens.input_ids.select(1, -1));
  EXPECT_TRUE(at::allclose(e.states(tokens).select(1, -1), e.states(changed).select(1, -1), 1e-5, 1e-5));
  const TextTokens spelled = e.tokenize(std::vector<std::string>{"a<|endoftext|>red"});
  EXPECT_EQ((spelled.attention_mask.eq(0) == spelled.input_ids.eq(e.tokenizer().pad_id())).all().item<bool>(), true);
}

TEST(TextEncoder, SaysWhatItCuts) {
  const TextEncoder e = encoder("");
  std::string prompt;
  for (int i = 0; i < kPositions; ++i) prompt += "7";  // a digit is a token
  EXPECT_EQ(e.tokenize(std::vector<std::string>{prompt}).cut[0], "");
  const TextTokens tokens = e.tokenize(std::vector<std::string>{prompt + " red cat"});
  EXPECT_EQ(tokens.cut[0], " red cat");
  EXPECT_EQ(tokens.input_ids.size(1), kPositions);
  set_log_level(LogLevel::kQuiet);
  testing::internal::CaptureStderr();
  const Tensor cut = e.encode(std::vector<std::string>{prompt + " red cat"});
  EXPECT_NE(testing::internal::GetCapturedStderr().find("left out: ' red cat'"), std::string::npos);
  set_log_level(LogLevel::kNormal);
  EXPECT_TRUE(at::equal(cut, e.encode(std::vector<std::string>{prompt})));
}

TEST(TextEncoder, EncodesEachPromptAsIfAlone) {
  const TextEncoder e = encoder("draw:\n");
  std::vector<std::string> prompts;
  for (int i = 0; i < 21; ++i) prompts.push_back(concat(i % 2 ? "a red cat " : "a blue dog ", i % 10));
  const Tensor together = e.encode(prompts);
  ASSERT_EQ(together.size(0), 21);
  EXPECT_TRUE(at::equal(together[0], together[10]));
  EXPECT_FALSE(at::allclose(together[0], together[2], 1e-3, 1e-3));
  for (const int i : {0, 5, 20})
    EXPECT_TRUE(
        at::allclose(together[i], e.encode(std::span(prompts).subspan(static_cast<size_t>(i), 1))[0], 1e-4, 1e-5));
  EXPECT_EQ(e.encode({}).sizes(), (at::IntArrayRef{0, kPositions, 16}));
}

TEST(TextEncoder, LoadsFromAFolder) {
  const auto folder = std::filesystem::temp_directory_path() / concat("crescendo_text_", ::getpid());
  const TextEncoder e = encoder("draw:\n");
  files().write(folder);
  write_qwen2(folder, e.tower().config(), e.tower().weights());
  write_file_atomically(folder / kSystemPromptFile, std::string_view("draw:\n"));
  const std::vector<std::string> prompts{"a red cat"};
  const Tensor loaded = TextEncoder::load(folder, kPositions).encode(prompts);
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(at::equal(loaded, e.encode(prompts)));
}

TEST(TextEncoder, RefusesATokenizerThatIsTooLarge) {
  const Bpe tokenizer = make_bpe(files(), "test");
  const Qwen2Config c = config(tokenizer.vocab_size() - 1);
  try {
    TextEncoder(tokenizer, Qwen2(c, random_qwen2_weights(c, 5)), "", kPositions);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("do not belong together"), std::string::npos);
  }
}

}  // namespace
}  // namespace crescendo
