// What a model is: sizes, conditioning, levels. Stored as config.json beside the weights.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "crescendo/core/enums.h"
#include "crescendo/core/fields.h"
#include "crescendo/spectral/lowpass.h"

namespace crescendo {

// In what order a picture is generated.
enum class Order { kFar, kMar, kRaster, kNextScale };
constexpr auto enum_table(Order) {
  return std::array{EnumName{Order::kFar, "far"}, EnumName{Order::kMar, "mar"}, EnumName{Order::kRaster, "raster"},
                    EnumName{Order::kNextScale, "next-scale"}};
}
// What a picture is generated from.
enum class Conditioning { kClass, kText };
constexpr auto enum_table(Conditioning) {
  return std::array{EnumName{Conditioning::kClass, "class"}, EnumName{Conditioning::kText, "text"}};
}

// What the head was trained to predict: the latent itself, or the next level's low-pass of it.
enum class Target { kClean, kNextLevel };
constexpr auto enum_table(Target) {
  return std::array{EnumName{Target::kClean, "clean"}, EnumName{Target::kNextLevel, "next-level"}};
}

struct ModelConfig {
  Order order = Order::kFar;
  Conditioning conditioning = Conditioning::kClass;
  int64_t width = 768;  // D
  int64_t encoder_blocks = 12;
  int64_t decoder_blocks = 12;
  int64_t heads = 12;
  int64_t head_dim = 0;  // 0: width / heads
  int64_t mlp_ratio = 4;
  int64_t diffusion_width = 1024;
  int64_t diffusion_blocks = 6;
  int64_t latent_channels = 16;  // C of the latent
  int64_t latent_height = 16;    // H
  int64_t latent_width = 16;     // W
  int64_t patch = 1;
  int64_t levels = 16;  // F
  FilterType filter = FilterType::kSpatial;
  int64_t buffer_size = 64;  // copies of the class vector in front
  int64_t classes = 1000;
  int64_t text_hidden = 0;  // width of the text encoder's states (text models)
  int64_t text_length = 0;  // N
  // How it was trained, which changes no shape but how it should be sampled.
  bool masked = true;         // with masks
  int64_t visible_level = 0;  // with masks by level (hidden_at_level in order/masks.h); 0: with other masks
  Target predicts = Target::kClean;
  // The next-scale order.
  std::vector<int64_t> scales{};    // s_1 < .. < s_K; empty: see sides()
  bool residual = false;            // a scale adds to those before it (RQ)
  std::vector<double> scale_std{};  // c_k, by which targets are divided; empty: 1
  bool markov = false;              // a scale sees itself and the buffer alone

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("order", s.order, "order of generation: far, mar, raster or next-scale");
    v("conditioning", s.conditioning, "class or text");
    v("width", s.width, "width of the transformer");
    v("encoder_blocks", s.encoder_blocks, "transformer blocks in the encoder");
    v("decoder_blocks", s.decoder_blocks, "transformer blocks in the decoder");
    v("heads", s.heads, "attention heads");
    v("head_dim", s.head_dim, "channels of a head; 0 is width / heads");
    v("mlp_ratio", s.mlp_ratio, "hidden width of a block's MLP over its width");
    v("diffusion_width", s.diffusion_width, "width of the diffusion head");
    v("diffusion_blocks", s.diffusion_blocks, "blocks of the diffusion head");
    v("latent_channels", s.latent_channels, "channels of the latent");
    v("latent_height", s.latent_height, "height of the latent in cells");
    v("latent_width", s.latent_width, "width of the latent in cells");
    v("patch", s.patch, "side of the square of latent cells that makes a token");
    v("levels", s.levels, "frequency levels F");
    v("filter", s.filter, "low-pass filter: spatial (a) or fourier (b)");
    v("buffer_size", s.buffer_size, "copies of the class vector in front of the tokens");
    v("classes", s.classes, "number of classes");
    v("text_hidden", s.text_hidden, "width of the text states (text models)");
    v("text_length", s.text_length, "text positions (text models)");
    v("masked", s.masked, "trained with masked tokens");
    v("visible_level", s.visible_level,
      "trained with masks that follow a cosine over the levels, up to this one, from which on no token is hidden; 0: "
      "with other masks");
    v("predicts", s.predicts,
      "what it was trained to predict: clean (the latent itself) or next-level (its next low-pass)");
    v("scales", s.scales,
      "next-scale: sides of the scales in latent cells, each a multiple of the patch, up to the latent's side; empty: "
      "the patch, doubled until it is there");
    v("residual", s.residual, "next-scale: each scale is what those before it lack, and the picture is their sum");
    v("scale_std", s.scale_std,
      "next-scale: what the targets of each scale are divided by, one number a scale; empty: nothing");
    v("markov", s.markov, "next-scale: a scale sees only itself and the class, and of the last scale its input");
  }

  // Configs of before 0.2 have "kind": "far-class", "far-text" or "mar-class".
  static void read_older(Json& config);

  int64_t grid_height() const { return latent_height / patch; }
  int64_t grid_width() const { return latent_width / patch; }
  int64_t tokens() const { return grid_height() * grid_width(); }             // L
  int64_t token_channels() const { return latent_channels * patch * patch; }  // channels of a token
  int64_t attention_width() const { return heads * (head_dim ? head_dim : width / heads); }
  bool is_text() const { return conditioning == Conditioning::kText; }
  // Whether the head is told the number of the level, or of the scale.
  bool level_input() const { return order == Order::kFar || order == Order::kNextScale; }
  // Whether the transformer is model/sequence (raster, next-scale) and not model/backbone (far, mar).
  bool is_sequence() const { return order == Order::kRaster || order == Order::kNextScale; }
  // The sides of the scales, s_1 .. s_K = H.
  std::vector<int64_t> sides() const;
  // Tokens of each step of a sequence: L times one, or L_1 .. L_K.
  std::vector<int64_t> step_tokens() const;
  // The most tokens that any step draws.
  int64_t drawn_tokens() const { return order == Order::kRaster ? 1 : tokens(); }
  std::string kind() const { return enum_name(order) + "-" + enum_name(conditioning); }  // "far-class"
  // Throws where sizes contradict each other.
  void validate() const;
};

// B, L and H as published for FAR, and for MAR; FAR's text model.
struct ModelPreset {
  std::string_view name;
  int64_t width, blocks, heads, diffusion_blocks, diffusion_width;
};
inline constexpr std::array kModelPresets{
    ModelPreset{"far-b", 768, 12, 12, 6, 1024},     // 207.9 M parameters
    ModelPreset{"far-l", 1024, 16, 16, 3, 1024},    // 426.4 M
    ModelPreset{"far-h", 1280, 20, 16, 3, 1024},    // 811.7 M
    ModelPreset{"far-t2i", 1024, 16, 16, 3, 1024},  // 561 M (the paper says 564), texts of 300 tokens
    ModelPreset{"mar-b", 768, 12, 12, 6, 1024},    ModelPreset{"mar-l", 1024, 16, 16, 8, 1280},
    ModelPreset{"mar-h", 1280, 20, 16, 12, 1536},
};
ModelConfig model_preset(std::string_view name);

}  // namespace crescendo
