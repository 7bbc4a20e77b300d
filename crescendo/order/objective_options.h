// What is learned: every choice of the objective, of which paper and published code take different ones.
#pragma once

#include <array>

#include "crescendo/model/config.h"

namespace crescendo {

enum class LevelDraw { kImage, kBatch };
constexpr auto enum_table(LevelDraw) {
  return std::array{EnumName{LevelDraw::kImage, "image"}, EnumName{LevelDraw::kBatch, "batch"}};
}
enum class MaskDraw { kOff, kUniform, kTruncatedNormal, kCosine };
constexpr auto enum_table(MaskDraw) {
  return std::array{EnumName{MaskDraw::kOff, "off"}, EnumName{MaskDraw::kUniform, "uniform"},
                    EnumName{MaskDraw::kTruncatedNormal, "truncated-normal"}, EnumName{MaskDraw::kCosine, "cosine"}};
}
enum class LossOver { kAll, kMasked };
constexpr auto enum_table(LossOver) {
  return std::array{EnumName{LossOver::kAll, "all"}, EnumName{LossOver::kMasked, "masked"}};
}
// Next-scale: whether every token of an image counts alike, or every scale, with 1 / L_k for each of its tokens.
enum class LossWeight { kToken, kScale };
constexpr auto enum_table(LossWeight) {
  return std::array{EnumName{LossWeight::kToken, "token"}, EnumName{LossWeight::kScale, "scale"}};
}

// The defaults are the paper's; published_objective() is what the released code does.
struct ObjectiveOptions {
  Target target = Target::kClean;
  LevelDraw level_draw = LevelDraw::kImage;
  double level_power = 1.0;
  MaskDraw mask = MaskDraw::kUniform;
  double mask_min_low = 0.7;
  double mask_min_high = 0.0;
  int64_t visible_level = 0;
  bool level_weight = true;
  LossOver loss_over = LossOver::kAll;
  double posterior_std = 1.0;
  double input_noise = 0.0;
  int64_t diffusion_batch_mul = 4;
  double timestep_power = 1.0;
  double terminal_share = 0.0;
  double terminal_weight = 1.0;
  double vb_weight = 1.0;
  double label_dropout = 0.1;
  double attention_dropout = 0.1;
  double projection_dropout = 0.1;
  // The next-scale order.
  LossWeight loss_weight = LossWeight::kToken;
  bool scale_norm = false;
  double self_correct = 0.0;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("target", s.target, "clean (the latent itself, DMS) or next-level (its next low-pass, the ablation)");
    v("level_draw", s.level_draw, "a level per image or one per batch");
    v("level_power", s.level_power, "levels are drawn as F u^power, u uniform; above 1 favours low levels");
    v("mask", s.mask,
      "how the mask ratio is drawn from [r_i, 1]: off, uniform, truncated-normal (mean 1, std 0.25), or cosine (r_i "
      "unused: as many tokens as the sampler hides at level i)");
    v("mask_min_low", s.mask_min_low, "r_i at the lowest level");
    v("mask_min_high", s.mask_min_high, "r_i at the highest level; linear between");
    v("visible_level", s.visible_level,
      "with cosine: level from which on no token is hidden, while sampling, too; 0 is F");
    v("level_weight", s.level_weight, "weight the loss by 1 + sin(pi/2 i/F), i being the level predicted");
    v("loss_over", s.loss_over, "all tokens, or the masked ones only (MAR)");
    v("posterior_std", s.posterior_std,
      "standard deviation with which latents are drawn, as a share of that of the tokenizer's posterior; 0 takes its "
      "mean");
    v("input_noise", s.input_noise,
      "noise on the latent before its low-pass becomes the input, of a standard deviation drawn from [0, input_noise] "
      "per image; the target stays clean");
    v("diffusion_batch_mul", s.diffusion_batch_mul, "draws of (t, noise) per token");
    v("timestep_power", s.timestep_power, "t is drawn as 1000 u^(1/power), u uniform; above 1 favours high noise");
    v("terminal_share", s.terminal_share,
      "share of draws moved to the last timestep, 999, where a sampler starts and multiplies an error in eps by "
      "hundreds");
    v("terminal_weight", s.terminal_weight, "weight of the squared error in eps at the last timestep");
    v("vb_weight", s.vb_weight, "weight of the variational bound that trains the variance");
    v("label_dropout", s.label_dropout, "share of images trained without their condition");
    v("attention_dropout", s.attention_dropout, "dropout on attention weights");
    v("projection_dropout", s.projection_dropout, "dropout on projections and in the MLP");
    v("loss_weight", s.loss_weight,
      "next-scale: token, all count alike; or scale, all scales do, and in each its tokens");
    v("scale_norm", s.scale_norm,
      "next-scale: divide each scale's target by its standard deviation, measured before training and kept as "
      "model.scale_std");
    v("self_correct", s.self_correct,
      "next-scale: noise on each scale before the next is made of it, of a standard deviation drawn from [0, "
      "self_correct] times the scale's own; later targets make up for it");
  }
  void validate() const;
};

// The paper's, and what the released code does: of class models, and of the text model. What the paper does not state
// is as in the code.
ObjectiveOptions paper_objective();
ObjectiveOptions published_objective();
ObjectiveOptions paper_text_objective();
ObjectiveOptions published_text_objective();

// The model's visible_level after training with these masks: 0 unless they follow the cosine.
int64_t trained_visible_level(const ObjectiveOptions& options, int64_t levels);

}  // namespace crescendo
