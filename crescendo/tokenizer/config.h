// Sizes of a KL-VAE.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crescendo/core/fields.h"
#include "crescendo/core/tensor.h"

namespace crescendo {

struct KlVaeConfig {
  int64_t image_channels = 3;
  int64_t base_channels = 128;
  std::vector<int64_t> multipliers = {1, 1, 2, 2, 4};
  int64_t residual_blocks = 2;
  int64_t decoder_blocks = 0;
  int64_t latent_channels = 16;                 // C
  std::vector<int64_t> attention_levels = {4};  // published: side 16 of a 256 x 256 image, whatever the image's side
  bool middle = true;
  bool middle_attention = true;
  int64_t unshuffle = 1;
  int64_t norm_groups = 32;
  double latent_scale = 0.2325;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("image_channels", s.image_channels, "channels of the image");
    v("base_channels", s.base_channels, "channels of the first level");
    v("multipliers", s.multipliers, "channels of each level over base_channels; each level after the first halves");
    v("residual_blocks", s.residual_blocks, "residual blocks per level of the encoder");
    v("decoder_blocks", s.decoder_blocks, "residual blocks per level of the decoder; 0: one more than the encoder's");
    v("latent_channels", s.latent_channels, "channels of the latent");
    v("attention_levels", s.attention_levels, "levels of the encoder with self-attention, counted from 0");
    v("middle", s.middle, "two more residual blocks at the lowest resolution, in encoder and decoder");
    v("middle_attention", s.middle_attention, "self-attention between these two");
    v("unshuffle", s.unshuffle, "side of the square of pixels that the first layer takes as channels; 1: none");
    v("norm_groups", s.norm_groups, "groups of the group norms");
    v("latent_scale", s.latent_scale, "1 / standard deviation of the latents over the training data");
  }

  int64_t factor() const { return unshuffle << (multipliers.size() - 1); }  // f
  int64_t blocks_up() const { return decoder_blocks > 0 ? decoder_blocks : residual_blocks + 1; }
  int64_t pixel_channels() const { return image_channels * unshuffle * unshuffle; }
  int64_t lowest_level() const { return static_cast<int64_t>(multipliers.size()) - 1; }  // of the smallest side
  int64_t channels_of(int64_t level) const { return base_channels * multipliers.at(static_cast<size_t>(level)); }
  // Throws where sizes contradict each other.
  void validate() const;
};

inline constexpr std::array<std::string_view, 2> kKlVaePresets = {"kl16", "shapes-64"};
// "kl16": factor 16, 16 channels, as published (83.8 M parameters). "shapes-64": factor 4, 3 channels, 0.28 M.
KlVaeConfig kl_vae_preset(std::string_view name);

// The sizes behind published weights, read from names and shapes. `norm_groups` and `latent_scale` leave no trace
// there: they take the published values.
KlVaeConfig kl_vae_config_from(const TensorMap& weights, const std::string& source_name);

}  // namespace crescendo
