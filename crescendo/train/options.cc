#include "crescendo/train/options.h"

#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"
#include "crescendo/train/precision.h"

namespace crescendo {

void LoopOptions::validate() const {
  check_usage(images >= 1, "train.images must be at least 1, got ", images);
  check_usage(batch >= 1 && batch <= 1 << 20, "train.batch must be in 1..1048576, got ", batch);
  check_usage(micro_batch >= 0 && micro_batch <= batch, "train.micro_batch must be in 0..batch, got ", micro_batch);
  check_usage(std::isfinite(lr) && lr >= 0, "train.lr must be at least 0, got ", lr);
  check_usage(std::isfinite(grad_clip) && grad_clip >= 0, "train.grad_clip must be at least 0, got ", grad_clip);
  check_usage(ema >= 0 && ema < 1, "train.ema must be in [0, 1), got ", ema);
  check_precision("train.precision", precision);
  check_usage(log_images >= 1, "train.log_images must be at least 1, got ", log_images);
  check_usage(sample_images >= 0, "train.sample_images must be at least 0, got ", sample_images);
  check_usage(evaluate_images >= 0, "train.evaluate_images must be at least 0, got ", evaluate_images);
  check_usage(evaluate_pictures >= 4, "train.evaluate_pictures must be at least 4, got ", evaluate_pictures);
  check_usage(save_minutes > 0, "train.save_minutes must be above 0, got ", save_minutes);
  check_usage(max_bad_steps >= 1, "train.max_bad_steps must be at least 1, got ", max_bad_steps);
  check_usage(lr_schedule.warmup_images >= 0, "train.lr_schedule.warmup_images must be at least 0, got ",
              lr_schedule.warmup_images);
  check_usage(lr_schedule.end >= 0 && lr_schedule.end <= 1, "train.lr_schedule.end must be in 0..1, got ",
              lr_schedule.end);
}

namespace {

// Options that have no meaning for the model's order must be as if they were not there.
void check_order(const ObjectiveOptions& o, Order order) {
  check_usage(
      order == Order::kNextScale || (o.loss_weight == LossWeight::kToken && !o.scale_norm && o.self_correct == 0),
      "objective.loss_weight, scale_norm and self_correct belong to the order next-scale, and this model's is ",
      enum_name(order));
  check_usage(order != Order::kNextScale || o.input_noise == 0,
              "objective.input_noise does not apply to the order next-scale, whose targets depend on its inputs; use "
              "objective.self_correct");
  if (order == Order::kFar || order == Order::kMar) return;
  std::vector<std::string> wrong;
  const auto need = [&](bool right, const char* assignment) {
    if (!right) wrong.push_back(concat("objective.", assignment));
  };
  need(o.mask == MaskDraw::kOff, "mask=off");
  need(o.loss_over == LossOver::kAll, "loss_over=all");
  need(o.target == Target::kClean, "target=clean");
  need(!o.level_weight, "level_weight=false");
  need(o.level_draw == LevelDraw::kImage, "level_draw=image");
  need(o.level_power == 1, "level_power=1");
  check_usage(wrong.empty(), "the order ", enum_name(order), " has no frequency levels and no masks; set ",
              join(wrong, ", "));
}

}  // namespace

void TrainConfig::settle_model() {
  check_order(objective, model.order);
  if (model.is_sequence()) model.masked = false;
  if (model.order == Order::kNextScale) model.scales = model.sides();
  const bool by_level = objective.mask == MaskDraw::kCosine;
  check_usage(model.order != Order::kMar || (!by_level && objective.target == Target::kClean),
              "MAR has no frequency levels: objective.mask=cosine and objective.target=next-level do not apply");
  check_usage(objective.visible_level <= model.levels, "objective.visible_level must be in 0..", model.levels,
              " for this model, got ", objective.visible_level);
  const int64_t visible_level = trained_visible_level(objective, model.levels);
  check_usage(model.visible_level == 0 || model.visible_level == visible_level, "model.visible_level is ",
              model.visible_level, ", but trains to ", visible_level, " by objective.mask=", enum_name(objective.mask),
              "; leave it out, or set it to 0");
  check_usage(model.predicts == Target::kClean || model.predicts == objective.target, "model.predicts is ",
              enum_name(model.predicts), ", but objective.target ", enum_name(objective.target),
              "; leave out the first, which follows the second");
  model.visible_level = visible_level;
  model.predicts = objective.target;
}

std::vector<std::string> train_preset_names() {
  return {"paper", "published", "paper-t2i", "published-t2i", "mar", "mar-paper"};
}

namespace {

// What paper and code share, or the code alone says: 400 epochs of ImageNet's 1,281,167 images, as LoopOptions has
// them.
TrainConfig class_training() {
  TrainConfig c;
  c.model = model_preset("far-b");
  c.train.ema_warmup = false;
  c.flip = true;  // the code trains on moments of mirrored pictures, too; the paper does not say
  return c;
}

// MAR-B by its own paper (Li et al. 2024): masks in [0.7, 1], the loss on hidden tokens, 1e-4 for each 256 images of
// batch as FAR has it. Mask ratios are uniform by the paper, of a truncated normal distribution by the code.
TrainConfig mar_training(MaskDraw mask) {
  TrainConfig c = class_training();
  c.model = model_preset("mar-b");
  c.objective.mask = mask;
  c.objective.mask_min_low = c.objective.mask_min_high = 0.7;
  c.objective.loss_over = LossOver::kMasked;
  c.objective.level_weight = false;
  c.train.batch = 2048;
  c.train.lr = 8e-4;
  return c;
}

// The text model: 100 epochs of 4.19 M pairs of JourneyDB and 3.57 M of the authors' own (paper, section 5.1). Data,
// length, batch and rate are the paper's in both presets.
TrainConfig text_training() {
  constexpr int64_t kPairs = 4'190'000 + 3'570'000;
  TrainConfig c;
  c.model = model_preset("far-t2i");
  c.train.images = 100 * kPairs;
  c.train.batch = 512;
  c.train.lr = 2e-4;  // 1e-4 for each 256 images of batch
  // Read as the class models' share of the run, a quarter: their 100 epochs would be all of it.
  c.train.lr_schedule.warmup_images = 25 * kPairs;
  c.train.grad_clip = 1.0;
  c.train.ema = 0.99;  // the paper's
  c.train.ema_warmup = false;
  return c;  // not mirrored: captions tell left from right, and neither paper nor code is known to do it
}

}  // namespace

TrainConfig train_preset(const std::string& name) {
  TrainConfig c;
  if (name == "paper") {
    c = class_training();
    c.objective = paper_objective();
  } else if (name == "published") {
    c = class_training();
    c.objective = published_objective();
    c.sampler["preset"] = "published-mask";
  } else if (name == "paper-t2i") {
    c = text_training();
    c.objective = paper_text_objective();
  } else if (name == "published-t2i") {
    c = text_training();
    c.objective = published_text_objective();
    c.train.ema = 0.999;
    c.sampler["preset"] = "published-t2i";
  } else if (name == "mar") {
    c = mar_training(MaskDraw::kTruncatedNormal);
  } else if (name == "mar-paper") {
    c = mar_training(MaskDraw::kUniform);
  } else {
    usage_error("no training preset '", name, "'; there are ", join(train_preset_names()), " (or name a config file)");
  }
  return c;
}

}  // namespace crescendo
