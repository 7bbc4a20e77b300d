#include "crescendo/text/text_encoder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <unordered_map>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

constexpr int64_t kPromptsAtOnce = 8;  // bounds the memory of a long list of prompts

}  // namespace

DistinctTexts::DistinctTexts(std::span<const std::string> all) {
  std::unordered_map<std::string_view, int64_t> index_of;
  for (const std::string& text : all) {
    const auto [it, is_new] = index_of.emplace(text, static_cast<int64_t>(texts.size()));
    if (is_new) texts.push_back(text);
    index.push_back(it->second);
  }
}

TextEncoder::TextEncoder(Bpe tokenizer, Qwen2 tower, const std::string& system_prompt, int64_t positions)
    : tokenizer_(std::move(tokenizer)),
      tower_(std::move(tower)),
      system_ids_(tokenizer_.encode(system_prompt)),
      positions_(positions) {
  check(positions > 0, "text encoder: the number of text positions must be positive, got ", positions);
  check(tokenizer_.vocab_size() <= tower_.config().vocab_size, "text encoder: the tokenizer has ",
        tokenizer_.vocab_size(), " tokens but the tower has embeddings for ", tower_.config().vocab_size,
        "; they do not belong together");
  tokenizer_.pad_id();  // throws where there is none
}

TextEncoder TextEncoder::load(const std::filesystem::path& folder, int64_t positions) {
  const auto prompt = folder / kSystemPromptFile;
  return TextEncoder(load_bpe(folder), Qwen2::load(folder),
                     std::filesystem::exists(prompt) ? decode_text(read_file(prompt), prompt.string()) : std::string(),
                     positions);
}

TextTokens TextEncoder::tokenize(std::span<const std::string> prompts) const {
  const auto batch = static_cast<int64_t>(prompts.size());
  const auto prefix = static_cast<int64_t>(system_ids_.size());
  const int64_t pad = tokenizer_.pad_id();
  TextTokens out;
  out.input_ids = at::full({batch, prefix + positions_}, pad, at::kLong);
  int64_t* row = out.input_ids.data_ptr<int64_t>();
  for (const std::string& prompt : prompts) {
    const std::vector<int64_t> ids = tokenizer_.encode(prompt);
    const size_t kept = std::min(ids.size(), static_cast<size_t>(positions_));
    std::copy(system_ids_.begin(), system_ids_.end(), row);
    std::copy_n(ids.begin(), kept, row + prefix);
    out.cut.push_back(tokenizer_.decode(std::span(ids).subspan(kept)));
    row += prefix + positions_;
  }
  out.attention_mask = out.input_ids.ne(pad).to(at::kLong);
  out.attention_mask.slice(1, 0, prefix).fill_(1);
  return out;
}

Tensor TextEncoder::states(const TextTokens& tokens) const {
  const Tensor all = tower_.forward(tokens.input_ids, tokens.attention_mask);  // (B, P + N, hidden)
  return all.slice(1, static_cast<int64_t>(system_ids_.size())).to(at::kFloat);
}

Tensor TextEncoder::encode(std::span<const std::string> prompts) const {
  const at::NoGradGuard no_grad;
  const DistinctTexts distinct(prompts);
  std::vector<Tensor> parts{at::zeros({0, positions_, hidden_size()}, at::TensorOptions(tower_.device()))};
  for (size_t start = 0; start < distinct.texts.size(); start += kPromptsAtOnce) {
    const auto some =
        std::span(distinct.texts).subspan(start, std::min<size_t>(kPromptsAtOnce, distinct.texts.size() - start));
    const TextTokens tokens = tokenize(some);
    for (size_t i = 0; i < some.size(); ++i)
      if (!tokens.cut[i].empty())
        log_warning(concat("prompt cut to ", positions_, " tokens; left out: '", tokens.cut[i], "'"));
    parts.push_back(states(tokens));
  }
  return at::cat(parts).index_select(0, at::tensor(distinct.index, at::kLong).to(tower_.device()));  // (B, N, hidden)
}

TextEncoder TextEncoder::with_weights(const TensorMap& weights) const {
  TextEncoder other = *this;
  other.tower_ = Qwen2(tower_.config(), weights);
  return other;
}

void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  TokenizerFiles::read(from).write(to);
  if (std::filesystem::exists(from / kSystemPromptFile))
    write_file_atomically(to / kSystemPromptFile, read_file(from / kSystemPromptFile));
}

}  // namespace crescendo
