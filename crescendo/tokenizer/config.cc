#include "crescendo/tokenizer/config.h"

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

void KlVaeConfig::validate() const {
  check_usage(image_channels > 0 && base_channels > 0 && latent_channels > 0 && norm_groups > 0,
              "tokenizer: channels and groups must be positive");
  check_usage(!multipliers.empty() && multipliers.size() <= 16, "tokenizer: multipliers must name 1 to 16 levels");
  check_usage(residual_blocks > 0, "tokenizer: residual_blocks must be positive, got ", residual_blocks);
  check_usage(decoder_blocks >= 0, "tokenizer: decoder_blocks must be at least 0, got ", decoder_blocks);
  check_usage(unshuffle > 0 && unshuffle <= 64, "tokenizer: unshuffle must be in 1..64, got ", unshuffle);
  check_usage(std::isfinite(latent_scale) && latent_scale > 0, "tokenizer: latent_scale must be positive, got ",
              latent_scale);
  for (const int64_t m : multipliers)
    check_usage(m > 0 && base_channels * m % norm_groups == 0 && base_channels % norm_groups == 0,
                "tokenizer: ", base_channels, " x ", m, " channels do not fall into ", norm_groups,
                " norm groups; set norm_groups to a divisor");
  for (const int64_t level : attention_levels)
    check_usage(level >= 0 && level <= lowest_level(), "tokenizer: attention_levels must be in 0..", lowest_level(),
                ", got ", level);
}

KlVaeConfig kl_vae_preset(std::string_view name) {
  if (name == "kl16") return {};
  if (name == "shapes-64")
    return {.base_channels = 64,
            .multipliers = {1},
            .residual_blocks = 1,
            .latent_channels = 3,
            .attention_levels = {},
            .middle = false,
            .middle_attention = false,
            .unshuffle = 4,
            .norm_groups = 16,
            .latent_scale = 1.0};
  usage_error("no tokenizer preset '", name, "'; there are ", join(kKlVaePresets));
}

KlVaeConfig kl_vae_config_from(const TensorMap& weights, const std::string& source) {
  const auto named = [&](const std::string& name) {
    const auto it = weights.find(name);
    check(it != weights.end(), source, " is no KL-VAE: it has no tensor ", name);
    check(it->second.dim() == 4, source, ": ", name, " must have 4 dimensions, got ", it->second.sizes());
    return it->second;
  };
  const auto has = [&](const std::string& name) { return weights.contains(name); };
  KlVaeConfig c;
  const Tensor first = named("encoder.conv_in.weight");  // (base, 3 u u, 3, 3)
  c.base_channels = first.size(0);
  c.unshuffle = std::llround(std::sqrt(static_cast<double>(first.size(1)) / static_cast<double>(c.image_channels)));
  check(c.base_channels > 0 && c.pixel_channels() == first.size(1), source, ": encoder.conv_in takes ", first.size(1),
        " channels, which are not 3 times a square");
  c.latent_channels = named("post_quant_conv.weight").size(1);
  c.multipliers.clear();
  c.attention_levels.clear();
  for (int64_t i = 0; has(concat("encoder.down.", i, ".block.0.conv1.weight")); ++i) {
    const int64_t width = named(concat("encoder.down.", i, ".block.0.conv1.weight")).size(0);
    check(width % c.base_channels == 0, source, ": level ", i, " has ", width, " channels, no multiple of ",
          c.base_channels);
    c.multipliers.push_back(width / c.base_channels);
    if (has(concat("encoder.down.", i, ".attn.0.q.weight"))) c.attention_levels.push_back(i);
  }
  check(!c.multipliers.empty(), source, " is no KL-VAE: it has no tensor encoder.down.0.block.0.conv1.weight");
  c.residual_blocks = 0;
  while (has(concat("encoder.down.0.block.", c.residual_blocks, ".conv1.weight"))) ++c.residual_blocks;
  while (has(concat("decoder.up.0.block.", c.decoder_blocks, ".conv1.weight"))) ++c.decoder_blocks;
  if (c.decoder_blocks == c.residual_blocks + 1) c.decoder_blocks = 0;  // as published
  c.middle = has("encoder.mid.block_1.conv1.weight");
  c.middle_attention = has("encoder.mid.attn_1.q.weight");
  try {
    c.validate();
  } catch (const Error& e) {
    fail(source, ": ", e.what());  // a fault of the file, not of the command line
  }
  return c;
}

}  // namespace crescendo
