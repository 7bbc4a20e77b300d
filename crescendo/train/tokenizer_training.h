// Training of the KL-VAE: images -> weights, latent scale, report.
//
//   loss = l2 * mean (y - x)^2 + l1 * mean |y - x| + kl * KL(q || N(0, 1)) / (numbers in an image)
//
// with x the image in [-1, 1], z drawn from the posterior q and y = decode(z). The KL weight is thus per pixel value
// and does not depend on the side. Published tokenizers add a perceptual and an adversarial loss, which take networks
// of their own; docs/training.md says what that means. After training the latents' standard deviation is measured and
// stored as latent_scale = 1 / std.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "crescendo/core/fields.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/train/adamw.h"
#include "crescendo/train/lr.h"
#include "crescendo/train/training_images.h"

namespace crescendo {

struct TokenizerLossWeights {
  double l2 = 1.0;
  double l1 = 0.1;
  double kl = 1e-3;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("l2", s.l2, "weight of the mean square error");
    v("l1", s.l1, "weight of the mean absolute error");
    v("kl", s.kl, "weight of the KL divergence per pixel value");
  }
};

struct TokenizerTrainingOptions {
  KlVaeConfig tokenizer;
  TokenizerLossWeights loss;
  int64_t image_side = 256;
  int64_t images = 1'000'000;
  int64_t batch = 32;
  double lr = 1e-4;
  LrOptions lr_schedule = {.shape = LrShape::kCosine, .warmup_images = 10'000, .end = 0.01};
  AdamWOptions adamw = {.weight_decay = 0.0};
  double grad_clip = 1.0;
  bool flip = false;
  bool freeze_encoder = false;
  double latent_noise = 0.0;
  std::string precision = "fp32";
  int64_t held_out = 256;
  int64_t scale_images = 4096;
  int64_t log_images = 3200;
  int64_t checkpoint_images = 100'000;
  int64_t seed = 0;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("tokenizer", s.tokenizer, "sizes of the tokenizer");
    v("loss", s.loss, "weights of the parts of the loss");
    v("image_side", s.image_side, "side of the training images in pixels");
    v("images", s.images, "images to train on, counted with repetition");
    v("batch", s.batch, "images per step");
    v("lr", s.lr, "peak learning rate of AdamW");
    v("lr_schedule", s.lr_schedule, "how the learning rate runs");
    v("adamw", s.adamw, "AdamW");
    v("grad_clip", s.grad_clip, "largest norm of the gradient; 0: no limit");
    v("flip", s.flip, "mirror half of the images");
    v("freeze_encoder", s.freeze_encoder, "train the decoder alone: latents, and models of them, stay as they are");
    v("latent_noise", s.latent_noise,
      "the decoder's input gets noise of a standard deviation drawn from [0, this], that of latents being 1, so that "
      "it "
      "mends what a model draws");
    v("precision", s.precision,
      "fp32, bf16 (convolutions; weights stay fp32) or auto: bf16 where the device multiplies in it");
    v("held_out", s.held_out, "images kept aside to measure PSNR");
    v("scale_images", s.scale_images, "images over which the latents' standard deviation is measured");
    v("log_images", s.log_images, "images between two lines of the log");
    v("checkpoint_images", s.checkpoint_images, "images between two writes of the weights");
    v("seed", s.seed, "seed of weights, order and noise");
  }
  void validate() const;
};

// Whether a frozen encoder leaves the parameter of that name to be trained.
bool is_of_decoder(std::string_view name);

// "shapes-64" and "kl16": options with that tokenizer.
TokenizerTrainingOptions tokenizer_training_preset(std::string_view name);

// One step's loss, differentiable: image (B, 3, H, W) in [-1, 1], noise (B, C, h, w) of the posterior; `added`, of the
// same shape, goes on top of its sample.
struct TokenizerLoss {
  Tensor total, l2, l1, kl;  // scalars; kl in nats per pixel value
};
TokenizerLoss tokenizer_loss(const KlVae& vae, const Tensor& image, const Tensor& noise,
                             const TokenizerLossWeights& weights, const Tensor& added = {});

struct ReconstructionQuality {
  double psnr = 0.0;         // of decode(posterior mean), clipped to [-1, 1]; from the mean square error of all images
  double psnr_sample = 0.0;  // of decode(posterior sample)
};
ReconstructionQuality reconstruction_quality(const KlVae& vae, const TrainingImages& images, int64_t first,
                                             int64_t count, uint64_t seed);

// Standard deviation of posterior samples about their overall mean, before any scale.
double measure_latent_std(const KlVae& vae, const TrainingImages& images, int64_t count, uint64_t seed);

struct TokenizerTrainingResult {
  int64_t images = 0;
  bool finished = false;  // false: stopped early
  double seconds = 0.0;
  double latent_std = 0.0;
  ReconstructionQuality quality;

  Json to_json() const;
};

// Trains in place. The last `held_out` images of the set are never trained on. Writes DIR/log.jsonl as it goes and
// DIR/tokenizer/ every `checkpoint_images` images and at the end; `stop` is looked at between steps.
TokenizerTrainingResult train_tokenizer(KlVae& vae, const TrainingImages& images,
                                        const TokenizerTrainingOptions& options, const std::filesystem::path& directory,
                                        const std::function<bool()>& stop = {});

}  // namespace crescendo
