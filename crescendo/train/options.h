// How to train: everything a config file may say, and the presets.
#pragma once

#include "crescendo/order/objective.h"
#include "crescendo/order/sampler_options.h"
#include "crescendo/train/adamw.h"
#include "crescendo/train/lr.h"

namespace crescendo {

// Progress is counted in images, so that the batch size does not move the axis.
struct LoopOptions {
  int64_t images = 400 * 1281167LL;
  int64_t batch = 1024;
  int64_t micro_batch = 0;
  double lr = 4e-4;
  LrOptions lr_schedule{};
  AdamWOptions adamw{};
  double grad_clip = 3.0;
  double ema = 0.9999;
  bool ema_warmup = true;
  std::string precision = "fp32";
  int64_t seed = 0;
  int64_t log_images = 10000;
  int64_t sample_images = 200000;
  int64_t evaluate_images = 0;
  int64_t evaluate_pictures = 800;
  std::string evaluate_with;
  double save_minutes = 10.0;
  int64_t max_bad_steps = 10;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("images", s.images, "images to train on, repeats counted");
    v("batch", s.batch, "images per step");
    v("micro_batch", s.micro_batch,
      "images per forward pass, their gradients added up; on a CPU each thread takes one; 0 is the whole batch");
    v("lr", s.lr, "peak learning rate (published: 1e-4 per 256 images of batch)");
    v("lr_schedule", s.lr_schedule, "how the learning rate runs");
    v("adamw", s.adamw, "the optimizer");
    v("grad_clip", s.grad_clip, "largest L2 norm of the gradient; 0 is none");
    v("ema", s.ema, "decay of the running average of the weights");
    v("ema_warmup", s.ema_warmup,
      "the average's first updates use a lower decay: at most (1 + n) / (10 + n) at the n-th");
    v("precision", s.precision, "fp32, bf16 (mixed precision) or auto: bf16 where the device multiplies in it");
    v("seed", s.seed, "seed of everything random");
    v("log_images", s.log_images, "images between lines of the log");
    v("sample_images", s.sample_images, "images between grids of samples; 0 is none");
    v("evaluate_images", s.evaluate_images,
      "images between evaluations, as `crescendo evaluate shapes` makes them, in scores.jsonl; 0 is none");
    v("evaluate_pictures", s.evaluate_pictures, "pictures that an evaluation draws and measures");
    v("evaluate_with", s.evaluate_with,
      "the classifier that an evaluation measures with; may be left out for shapes and scenes");
    v("save_minutes", s.save_minutes, "minutes between checkpoints");
    v("max_bad_steps", s.max_bad_steps, "steps in a row without a finite loss and gradient that end the run");
  }
  void validate() const;
};

struct TrainConfig {
  ModelConfig model{};
  ObjectiveOptions objective{};
  LoopOptions train{};
  Json sampler = Json::object();
  bool flip = false;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("model", s.model, "sizes and conditioning");
    v("objective", s.objective, "what is learned");
    v("train", s.train, "how long and how fast");
    v("sampler", s.sampler, "what the model asks of its sampler; a preset, and what differs from it");
    v("flip", s.flip, "mirror half of the images");
  }
  static void read_older(Json& config) {
    if (const auto it = config.find("sampler"); it != config.end()) *it = older_sampler(*it);
  }
  // Writes into `model` what it is trained for: predicts and visible_level, which follow from `objective`; of raster and
  // next-scale also masked and scales. Throws a usage error where the model says otherwise by itself, or cannot be
  // trained so.
  void settle_model();
};

std::vector<std::string> train_preset_names();
// "paper" and "published": FAR-B on 256 x 256 latents with the choices of the paper or of the released code.
// "paper-t2i" and "published-t2i": the text model, likewise, of states of a frozen Qwen2-1.5B. "mar-paper" and "mar":
// MAR-B, with the choices of its own paper or code.
TrainConfig train_preset(const std::string& name);

}  // namespace crescendo
