#include "crescendo/train/text_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/rng.h"
#include "crescendo/text/bpe_train.h"

namespace crescendo {

namespace fs = std::filesystem;

void TextEncoderOptions::validate(int64_t hidden) const {
  check_usage(!frozen || !encoder.empty(), "text.frozen needs a trained text.encoder: a new one knows nothing yet");
  check_usage(vocabulary >= 1 && layers >= 1 && heads >= 1 && key_value_heads >= 1 && intermediate >= 1,
              "text: vocabulary, layers, heads, key_value_heads and intermediate must be at least 1");
  check_usage(hidden % heads == 0 && hidden / heads % 2 == 0 && heads % key_value_heads == 0,
              "text: model.text_hidden ", hidden, " must be an even number of channels for each of text.heads ", heads,
              ", which must be a multiple of text.key_value_heads ", key_value_heads);
}

std::vector<std::string> captions_of(const Dataset& dataset) {
  check_fits_memory(static_cast<double>(dataset.size()) * sizeof(std::string),
                    concat("keeping ", dataset.size(), " captions"), "train on fewer images");
  std::vector<std::string> captions;
  captions.reserve(static_cast<size_t>(dataset.size()));
  for (int64_t i = 0; i < dataset.size(); ++i) captions.push_back(dataset.caption(i));
  if (const auto empty = std::count(captions.begin(), captions.end(), ""); empty > 0)
    log_warning(concat(empty, " of ", captions.size(), " captions are empty; the first is that of ",
                       dataset.name(std::find(captions.begin(), captions.end(), "") - captions.begin())));
  return captions;
}

bool names_side(const std::string& text) {
  constexpr std::array<std::string_view, 23> kSides = {
      "left",      "lefthand",      "leftmost",         "leftward",  "leftwards",
      "right",     "righthand",     "rightmost",        "rightward", "rightwards",
      "clockwise", "anticlockwise", "counterclockwise", "east",      "eastward",
      "eastbound", "west",          "westward",         "westbound", "northeast",
      "northwest", "southeast",     "southwest"};
  if (text.find("\xE5\xB7\xA6") != std::string::npos || text.find("\xE5\x8F\xB3") != std::string::npos) return true;
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ' ';
    const char small = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (small >= 'a' && small <= 'z') {
      word += small;
      continue;
    }
    if (c >= '\xC3' && c <= '\xDF' && i + 1 < text.size()) {  // two bytes: a letter of another alphabet, as in UTF-8
      word.append(text, i++, 2);
      continue;
    }
    if (std::find(kSides.begin(), kSides.end(), word) != kSides.end()) return true;
    word.clear();
  }
  return false;
}

void check_flip(std::span<const std::string> captions) {
  const auto found = std::find_if(captions.begin(), captions.end(), names_side);
  check_usage(found == captions.end(), "flip mirrors half of the images, but a caption names a side: '",
              found == captions.end() ? "" : *found, "'; use `flip=false`");
}

void check_states_fit(int64_t captions, const TextEncoder& encoder) {
  const double need =
      static_cast<double>(captions) * static_cast<double>(encoder.positions() * encoder.hidden_size()) * sizeof(float);
  check_fits_memory(need,
                    concat("keeping the states of ", captions, " captions (", encoder.positions(), " x ",
                           encoder.hidden_size(), " numbers each)"),
                    "train on fewer captions, lower model.text_length, or let the encoder learn along "
                    "(`text.frozen=false`), which keeps no states");
}

void make_text_encoder(const fs::path& folder, const TextEncoderOptions& options, int64_t hidden,
                       std::span<const std::string> captions, uint64_t seed) {
  options.validate(hidden);
  const TokenizerFiles files = train_bpe(DistinctTexts(captions).texts, options.vocabulary);
  Qwen2Config config;
  config.hidden_size = hidden;
  config.intermediate_size = options.intermediate;
  config.num_hidden_layers = options.layers;
  config.num_attention_heads = options.heads;
  config.num_key_value_heads = options.key_value_heads;
  config.head_dim = hidden / options.heads;
  config.vocab_size = make_bpe(files, folder.string()).vocab_size();
  files.write(folder);
  write_qwen2(folder, config, random_qwen2_weights(config, derive_seed(seed, static_cast<uint64_t>(hidden))));
}

void prepare_to_train(TextEncoder& encoder, at::Device device) {
  encoder.tower().to(device, at::kFloat);
  encoder.tower().params().to(device, at::kFloat);  // the embedding, too
}

void save_text_encoder(const fs::path& folder, const fs::path& source, const Qwen2Config& config,
                       const TensorMap& weights) {
  make_directories(folder);
  copy_tokenizer_files(source, folder);
  if (!weights.empty()) return write_qwen2(folder, config, weights);
  if (fs::exists(folder / "config.json")) return;
  for (const auto& entry : fs::directory_iterator(source)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json")) continue;
    std::error_code error;
    fs::copy_file(entry.path(), folder / name, fs::copy_options::overwrite_existing, error);
    check(!error, "cannot copy ", entry.path().string(), " to ", folder.string(), ": ", error.message());
  }
  write_file_atomically(folder / "config.json", read_file(source / "config.json"));  // last: what is there is whole
}

CaptionedLatents::CaptionedLatents(const LatentSource& latents, std::span<const std::string> captions,
                                   const TextEncoder& encoder, bool frozen)
    : latents_(latents) {
  check(static_cast<int64_t>(captions.size()) == latents.size(), "there are ", captions.size(), " captions for ",
        latents.size(), " images");
  const DistinctTexts distinct(captions);
  caption_ = at::tensor(distinct.index, at::kLong);
  tokens_ = encoder.tokenize(distinct.texts);
  const auto is_cut = [](const std::string& cut) { return !cut.empty(); };
  if (const auto first = std::find_if(tokens_.cut.begin(), tokens_.cut.end(), is_cut); first != tokens_.cut.end())
    log_warning(concat(std::count_if(first, tokens_.cut.end(), is_cut), " of ", distinct.texts.size(),
                       " captions are longer than the ", encoder.positions(),
                       " tokens of model.text_length; the first, '",
                       distinct.texts[static_cast<size_t>(first - tokens_.cut.begin())], "', loses '", *first, "'"));
  tokens_.cut.clear();
  if (!frozen) return;

  constexpr int64_t kAtOnce = 16;
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(distinct.texts.size());
  check_states_fit(count, encoder);
  states_ = at::empty({count, encoder.positions(), encoder.hidden_size()}, at::kFloat);
  Progress bar("reading captions");
  for (int64_t i = 0; i < count; i += kAtOnce) {
    check(!interrupted(), "stopped while reading the captions; nothing was kept");
    const auto some = [&](const Tensor& all) { return all.slice(0, i, i + kAtOnce); };
    some(states_).copy_(encoder.states({some(tokens_.input_ids), some(tokens_.attention_mask), {}}));
    bar.update(static_cast<double>(i) / static_cast<double>(count), concat(i, " of ", count));
  }
  bar.finish(concat(count, " captions read"));
}

TrainingBatch CaptionedLatents::batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const {
  TrainingBatch batch = latents_.batch(indices, seeds);
  const Tensor rows = caption_.index_select(0, at::tensor(indices, at::kLong));
  const auto device = batch.latents.device();
  if (states_.defined())
    batch.text = states_.index_select(0, rows).to(device);
  else
    batch.tokens = {tokens_.input_ids.index_select(0, rows).to(device),
                    tokens_.attention_mask.index_select(0, rows).to(device),
                    {}};
  return batch;
}

}  // namespace crescendo
