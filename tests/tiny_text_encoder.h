// A text encoder small enough for a test: a vocabulary of two sentences and one layer.
#pragma once

#include "crescendo/text/bpe_train.h"
#include "crescendo/text/text_encoder.h"

namespace crescendo::test {

inline TokenizerFiles tiny_tokenizer_files() {
  return train_bpe(std::vector<std::string>{"a red cat and a red dog", "a blue cat, a blue dog"}, 270);
}

inline Qwen2Config tiny_qwen2_config(int64_t hidden) {
  Qwen2Config c;
  c.hidden_size = hidden;
  c.intermediate_size = 8;
  c.num_hidden_layers = 1;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 2;
  c.vocab_size = make_bpe(tiny_tokenizer_files(), "tiny").vocab_size();
  return c;
}

// As wide as trained weights, so that words and their places tell.
inline TensorMap tiny_qwen2_weights(const Qwen2Config& config) {
  TensorMap weights = random_qwen2_weights(config, 5);
  for (auto& [name, tensor] : weights)
    if (tensor.dim() == 2) tensor.mul_(20.0);
  return weights;
}

inline TextEncoder tiny_text_encoder(int64_t hidden, int64_t positions, const std::string& system_prompt = "") {
  const Qwen2Config config = tiny_qwen2_config(hidden);
  return TextEncoder(make_bpe(tiny_tokenizer_files(), "tiny"), Qwen2(config, tiny_qwen2_weights(config)), system_prompt,
                     positions);
}

// The same in Hugging Face layout.
inline void write_tiny_text_encoder(const std::filesystem::path& folder, int64_t hidden) {
  const Qwen2Config config = tiny_qwen2_config(hidden);
  tiny_tokenizer_files().write(folder);
  write_qwen2(folder, config, tiny_qwen2_weights(config));
}

}  // namespace crescendo::test
