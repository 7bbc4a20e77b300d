#include "crescendo/order/objective_options.h"

#include "crescendo/core/check.h"

namespace crescendo {

void ObjectiveOptions::validate() const {
  const auto share = [](const char* name, double v) {
    check_usage(v >= 0 && v <= 1, "objective: ", name, " must be in 0..1, got ", v);
  };
  share("mask_min_low", mask_min_low);
  share("mask_min_high", mask_min_high);
  share("label_dropout", label_dropout);
  share("terminal_share", terminal_share);
  share("posterior_std", posterior_std);
  check_usage(attention_dropout >= 0 && attention_dropout < 1 && projection_dropout >= 0 && projection_dropout < 1,
              "objective: dropout must be in [0, 1), got ", attention_dropout, " and ", projection_dropout);
  check_usage(diffusion_batch_mul >= 1 && diffusion_batch_mul <= 1024,
              "objective: diffusion_batch_mul must be in 1..1024, got ", diffusion_batch_mul);
  check_usage(input_noise >= 0 && input_noise <= 10, "objective: input_noise must be in 0..10, got ", input_noise);
  check_usage(level_power > 0 && timestep_power > 0, "objective: level_power and timestep_power must be above 0, got ",
              level_power, " and ", timestep_power);
  check_usage(vb_weight >= 0 && terminal_weight >= 0,
              "objective: vb_weight and terminal_weight must be at least 0, got ", vb_weight, " and ", terminal_weight);
  check_usage(self_correct >= 0 && self_correct <= 10, "objective: self_correct must be in 0..10, got ", self_correct);
  check_usage(visible_level >= 0, "objective: visible_level must be at least 0, got ", visible_level);
  check_usage(visible_level == 0 || mask == MaskDraw::kCosine, "objective: visible_level needs mask=cosine");
  check_usage(loss_over == LossOver::kAll || mask != MaskDraw::kOff, "objective: loss_over=masked needs a mask");
}

ObjectiveOptions paper_objective() { return {}; }

ObjectiveOptions published_objective() {
  ObjectiveOptions o;
  o.level_draw = LevelDraw::kBatch;
  o.mask = MaskDraw::kTruncatedNormal;
  o.mask_min_low = 0.0;
  o.mask_min_high = 0.7 * 15 / 16;
  o.level_weight = false;
  return o;
}

namespace {

// What the text model's code leaves at other values than the class models'.
ObjectiveOptions as_text(ObjectiveOptions o) {
  o.diffusion_batch_mul = 1;
  o.attention_dropout = 0.0;
  o.projection_dropout = 0.0;
  return o;
}

}  // namespace

ObjectiveOptions paper_text_objective() { return as_text(paper_objective()); }

ObjectiveOptions published_text_objective() {
  ObjectiveOptions o = as_text(published_objective());
  o.level_draw = LevelDraw::kImage;
  o.mask_min_low = 0.7;
  o.mask_min_high = 0.7;
  return o;
}

int64_t trained_visible_level(const ObjectiveOptions& o, int64_t levels) {
  if (o.mask != MaskDraw::kCosine) return 0;
  return o.visible_level > 0 ? o.visible_level : levels;
}

}  // namespace crescendo
