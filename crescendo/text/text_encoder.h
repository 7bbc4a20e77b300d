// Prompts -> text states for the image model: strings -> (B, N, hidden).
//
// As the published text model does it: the system prompt's tokens, then the user's text, cut or padded on the right to
// N tokens (300); the tower reads both, and the states of the N user positions are the result.
//
// The mask. Pad tokens are hidden as keys within the tower, wherever they stand (also one spelled out in the prompt); a
// padded position still reads the system prompt and the text before it. So its state is a summary of the prompt at its
// position, and it matters: the image model attends to all N states without a mask. Positions count through the
// padding.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/text/qwen2.h"
#include "crescendo/text/tokenizer_json.h"

namespace crescendo {

// Equal texts once: the different ones in order of appearance, and which of them each text is.
struct DistinctTexts {
  std::vector<std::string> texts;
  std::vector<int64_t> index;

  explicit DistinctTexts(std::span<const std::string> all);
};

// What the tower reads for a list of prompts.
struct TextTokens {
  Tensor input_ids;              // (B, P + N): P tokens of the system prompt, then the user's
  Tensor attention_mask;         // (B, P + N)
  std::vector<std::string> cut;  // per prompt: the end that did not fit into N tokens, else empty
};

class TextEncoder {
 public:
  // `positions` is N. Throws where the tokenizer has more tokens than the tower has embeddings.
  TextEncoder(Bpe tokenizer, Qwen2 tower, const std::string& system_prompt, int64_t positions);
  // A folder in Hugging Face layout; the system prompt, if any, stands beside in system_prompt.txt (byte for byte).
  static TextEncoder load(const std::filesystem::path& folder, int64_t positions);

  TextTokens tokenize(std::span<const std::string> prompts) const;
  // States of the user's positions, in fp32. Differentiable where the tower's weights require gradients.
  Tensor states(const TextTokens& tokens) const;  // (B, N, hidden)
  // Both, for use: no gradients; equal prompts are computed once; what is cut off is said in a warning.
  Tensor encode(std::span<const std::string> prompts) const;  // (B, N, hidden)

  // The same with another tower's weights of the same sizes.
  TextEncoder with_weights(const TensorMap& weights) const;

  const Bpe& tokenizer() const { return tokenizer_; }
  Qwen2& tower() { return tower_; }
  const Qwen2& tower() const { return tower_; }
  int64_t positions() const { return positions_; }
  int64_t hidden_size() const { return tower_.config().hidden_size; }

 private:
  Bpe tokenizer_;
  Qwen2 tower_;
  std::vector<int64_t> system_ids_;
  int64_t positions_;
};

inline constexpr const char* kSystemPromptFile = "system_prompt.txt";

// Copies what stands beside an encoder's weights, byte for byte: the tokenizer, and the system prompt if there is one.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace crescendo
