#include "crescendo/pipeline/memory.h"

#include <algorithm>
#include <numeric>

#include "crescendo/store/model_dir.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace {

double pixels(const ModelConfig& model, const KlVaeConfig& vae) {
  const auto factor = static_cast<double>(vae.factor());
  return static_cast<double>(model.latent_height) * static_cast<double>(model.latent_width) * factor * factor;
}

// Keys and values of a sequence's rows in both halves of guidance.
double cache_bytes(const ModelConfig& m) {
  if (!m.is_sequence()) return 0;
  const std::vector<int64_t> tokens = m.step_tokens();
  const int64_t rows = m.buffer_size + std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  return 2.0 * 2.0 * 4.0 * static_cast<double>((m.encoder_blocks + m.decoder_blocks) * rows) *
         static_cast<double>(m.attention_width());
}

}  // namespace

std::optional<KlVaeConfig> decoder_of(const std::filesystem::path& dir) {
  if (!has_tokenizer(dir)) return std::nullopt;
  return load_tokenizer_config(dir / kTokenizerFolder);
}

double latent_bytes(const ModelConfig& model) {
  return 4.0 * static_cast<double>(model.latent_channels) * static_cast<double>(model.latent_height) *
         static_cast<double>(model.latent_width);
}

double picture_bytes(const ModelConfig& model, const KlVaeConfig& vae) { return 3.0 * pixels(model, vae); }

double sampling_bytes(const ModelConfig& model, const std::optional<KlVaeConfig>& vae) {
  // Tokens, their noise and the transformer's answer, which may be bf16.
  const double sampled =
      2 * latent_bytes(model) + 2.0 * static_cast<double>(model.tokens() * model.width) + cache_bytes(model);
  if (!vae) return sampled;
  // A convolution at full size reads one map and writes another, of which one may be bf16; then there is the picture.
  const auto unshuffled = static_cast<double>(vae->unshuffle * vae->unshuffle);
  const double maps = 6.0 * static_cast<double>(vae->base_channels * vae->multipliers.front()) / unshuffled;
  return sampled + pixels(model, *vae) * std::max(maps, 12.0);
}

}  // namespace crescendo
