// Training of tokenizers, KL-VAE and VQ: images -> weights, report. Losses: train/tokenizer_loss.h. After the training of
// a KL-VAE the latents' standard deviation is measured and stored as latent_scale = 1 / std. Published tokenizers add a
// perceptual and an adversarial loss, which take networks of their own; docs/training.md says what that means.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "crescendo/core/fields.h"
#include "crescendo/train/adamw.h"
#include "crescendo/train/lr.h"
#include "crescendo/train/training_images.h"
#include "crescendo/train/tokenizer_loss.h"

namespace crescendo {

struct TokenizerTrainingOptions {
  KlVaeConfig tokenizer;
  int64_t codes = 0;
  double codebook_decay = 0.99;
  double codebook_restart = 0.1;
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
    v("codes", s.codes,
      "train a VQ tokenizer with so many codes, of vectors of tokenizer.latent_channels numbers; 0: a KL-VAE");
    v("codebook_decay", s.codebook_decay, "decay of the averages that the codebook follows (VQ)");
    v("codebook_restart", s.codebook_restart,
      "a code used less than this share of the mean starts anew from a vector of the batch (VQ)");
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

struct TokenizerTrainingResult {
  int64_t images = 0;
  bool finished = false;  // false: stopped early
  double seconds = 0.0;
  double psnr = 0.0;  // on held-out images, in dB
  double compression_ratio = 0.0;  // equations 5 and 6
  // Of the kind of tokenizer: latent_std and psnr_sample, or code_use and perplexity. Of both: used_ratio, the
  // compression ratio by the bits that the codes or the posterior really carry.
  Json measures;

  Json to_json() const;
};

// Trains in place. The last `held_out` images of the set are never trained on. Writes DIR/log.jsonl as it goes and
// DIR/tokenizer/ every `checkpoint_images` images and at the end; `stop` is looked at between steps.
TokenizerTrainingResult train_tokenizer(KlVae& vae, const TrainingImages& images,
                                        const TokenizerTrainingOptions& options, const std::filesystem::path& directory,
                                        const std::function<bool()>& stop = {});
TokenizerTrainingResult train_tokenizer(VqVae& vae, const TrainingImages& images,
                                        const TokenizerTrainingOptions& options, const std::filesystem::path& directory,
                                        const std::function<bool()>& stop = {});

}  // namespace crescendo
