#include "crescendo/train/tokenizer_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "crescendo/train/clipped_steps.h"
#include "crescendo/train/precision.h"

namespace crescendo {

//----------------------------------------------------------------------------
// Options.

bool is_of_decoder(std::string_view name) {
  return name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
}

void TokenizerTrainingOptions::validate() const {
  tokenizer.validate();
  check_usage(image_side > 0 && image_side % tokenizer.factor() == 0, "image_side must be a multiple of ",
              tokenizer.factor(), ", got ", image_side);
  check_usage(images > 0 && batch > 0, "images and batch must be positive");
  check_precision("precision", precision);
  check_usage(lr > 0 && std::isfinite(lr), "lr must be positive, got ", lr);
  check_usage(adamw.beta1 >= 0 && adamw.beta1 < 1 && adamw.beta2 >= 0 && adamw.beta2 < 1,
              "beta1 and beta2 must be in [0, 1)");
  if (codes != 0) VqConfig{tokenizer, codes}.validate();
  check_usage(codebook_decay >= 0 && codebook_decay < 1, "codebook_decay must be in [0, 1), got ", codebook_decay);
  check_usage(codebook_restart >= 0 && codebook_restart < 1, "codebook_restart must be in [0, 1), got ",
              codebook_restart);
  check_usage(loss.l2 >= 0 && loss.l1 >= 0 && loss.kl >= 0 && loss.commitment >= 0 && loss.l2 + loss.l1 > 0,
              "loss weights must not be negative, and l2 or l1 must be positive");
  check_usage(latent_noise >= 0 && std::isfinite(latent_noise), "latent_noise must be at least 0, got ", latent_noise);
  check_usage(held_out >= 0 && scale_images > 0 && log_images > 0 && checkpoint_images > 0,
              "held_out must not be negative; scale_images, log_images and checkpoint_images must be positive");
}

TokenizerTrainingOptions tokenizer_training_preset(std::string_view name) {
  TokenizerTrainingOptions o;
  o.tokenizer = kl_vae_preset(name);
  if (name == "shapes-64") {
    o.image_side = 64;
    o.images = 64'000;
    o.lr = 2e-3;
    o.lr_schedule.warmup_images = 1'600;
    o.checkpoint_images = 16'000;
    o.log_images = 1'600;
  }
  return o;
}

Json TokenizerTrainingResult::to_json() const {
  Json out = {{"images", images}, {"finished", finished}, {"seconds", seconds}, {"psnr", psnr},
              {"compression_ratio", compression_ratio}};
  out.update(measures);
  return out;
}

//----------------------------------------------------------------------------
// The two kinds of tokenizer.

namespace {

// What the loop needs of a tokenizer.
struct Trainee {
  Params& params;
  Params trained;
  const char* bottleneck;  // what the loss's third part is called in the log
  std::function<TokenizerLoss(const Tensor& image, uint32_t step)> loss;
  std::function<void(uint32_t step)> after_step;
  // Writes psnr (0 without held-out images) and measures; throws where they tell that training broke down.
  std::function<void(TokenizerTrainingResult& result)> measure;
  std::function<void(const std::filesystem::path& directory, const Json& training)> save;
};

Trainee trainee(KlVae& vae, const TrainingImages& images, const TokenizerTrainingOptions& o) {
  check_usage(o.codes == 0, "codes is of VQ tokenizers; this is a KL-VAE");
  const auto seed = static_cast<uint64_t>(o.seed), measure_seed = derive_seed(seed, 1);
  const auto loss = [&vae, &o, seed](const Tensor& x, uint32_t step) {
    return tokenizer_loss(vae, x, posterior_noise(vae, x, seed, step), o.loss,
                          decoder_noise(vae, x, o.latent_noise, seed, step));
  };
  const auto measure = [&vae, &images, &o, measure_seed](TokenizerTrainingResult& result) {
    const double latent_std = measure_latent_std(vae, images, o.scale_images, measure_seed);
    check(latent_std > 0 && std::isfinite(latent_std), "training broke down: the latents' standard deviation is ",
          latent_std, "; lower lr or loss.kl");
    if (!o.freeze_encoder) vae.set_latent_scale(1 / latent_std);
    ReconstructionQuality quality;
    if (o.held_out > 0)
      quality = reconstruction_quality(vae, images, images.size() - o.held_out, o.held_out, measure_seed);
    check(std::isfinite(quality.psnr_sample), "training broke down: the PSNR of posterior samples is ",
          quality.psnr_sample, " dB; lower lr");
    result.psnr = quality.psnr;
    result.measures = {{"latent_std", latent_std},
                       {"psnr_sample", quality.psnr_sample},
                       {"used_ratio", quality.kl / std::numbers::ln2 / 8}};
    result.compression_ratio = compression_ratio(vae.config());
  };
  const auto save = [&vae](const std::filesystem::path& directory, const Json& training) {
    save_tokenizer(directory, vae, training);
  };
  Params trained;
  for (const auto& [name, p] : vae.params().items())
    if (!o.freeze_encoder || is_of_decoder(name)) trained.adopt(name, p);
  return {vae.params(), std::move(trained), "kl", loss, [](uint32_t) {}, measure, save};
}

Trainee trainee(VqVae& vae, const TrainingImages& images, const TokenizerTrainingOptions& o) {
  check_usage(!o.freeze_encoder && o.latent_noise == 0, "freeze_encoder and latent_noise are of KL-VAEs");
  const auto codebook = std::make_shared<CodebookAverage>(
      vae.codebook(), CodebookLearning{.decay = o.codebook_decay, .restart_below = o.codebook_restart});
  const auto last = std::make_shared<VqLoss>();
  const auto loss = [&vae, &o, last](const Tensor& x, uint32_t) {
    *last = vq_loss(vae, x, o.loss);
    return last->loss;
  };
  const auto after_step = [codebook, last, seed = static_cast<uint64_t>(o.seed)](uint32_t step) {
    Rng rng(derive_seed(seed, 4), Draw::kOther, step);
    codebook->update(last->vectors, last->codes, rng);
  };
  const auto measure = [&vae, &images, &o](TokenizerTrainingResult& result) {
    const int64_t count = o.held_out > 0 ? o.held_out : std::min(images.size(), o.scale_images);
    const VqQuality quality = reconstruction_quality(vae, images, images.size() - count, count);
    result.psnr = o.held_out > 0 ? quality.psnr : 0;
    result.measures = {{"code_use", quality.use.share},
                       {"perplexity", quality.use.perplexity},
                       {"used_ratio", std::log2(quality.use.perplexity) / bits_per_token(vae.config().sizes)}};
    result.compression_ratio = compression_ratio(vae.config());
  };
  const auto save = [&vae](const std::filesystem::path& directory, const Json& training) {
    save_tokenizer(directory, vae, training);
  };
  Params trained;
  for (const auto& [name, p] : vae.params().items())
    if (name != kCodebookName) trained.adopt(name, p);
  return {vae.params(), std::move(trained), "commitment", loss, after_step, measure, save};
}

//----------------------------------------------------------------------------
// The loop.

TokenizerTrainingResult train(Trainee tokenizer, const TrainingImages& images, const TokenizerTrainingOptions& o,
                              const std::filesystem::path& directory, const std::function<bool()>& stop) {
  o.validate();
  const int64_t training_images = images.size() - o.held_out;
  check_usage(training_images >= 1, "the data set has ", images.size(), " images and ", o.held_out,
              " are held out: nothing is left to train on; lower held_out");
  make_directories(directory);
  write_json(directory / "options.json", value_to_json(o));

  AdamW optimizer(tokenizer.trained, o.adamw, [](const std::string&, const Tensor& p) { return p.dim() > 1; });
  ClippedSteps clipped_step(optimizer, o.grad_clip);
  ImageBatches batches(images, training_images, o.batch, static_cast<uint64_t>(o.seed), {.flip = o.flip});
  Progress progress("tokenizer");
  const at::Device device = tokenizer.params.items().front().second.device();
  const double start_s = now_s();
  TokenizerTrainingResult result;

  // What lies in DIR/tokenizer can be used at any time, so what is spoilt does not get there.
  const auto write = [&] {
    for (const auto& [name, p] : tokenizer.params.items())
      check(at::isfinite(p).all().item<bool>(), "training broke down: ", name, " is not finite; lower lr");
    tokenizer.measure(result);
    check(std::isfinite(result.psnr), "training broke down: the PSNR is ", result.psnr, " dB; lower lr");
    result.seconds = now_s() - start_s;
    tokenizer.save(directory / "tokenizer", result.to_json());
  };

  const at::ScalarType dtype = training_dtype(o.precision, device);
  uint32_t step = 0;
  while (result.images < o.images && !(stop && stop())) {
    const double lr = learning_rate(o.lr_schedule, o.lr, result.images, o.images);
    const Tensor x = batches.next().images.to(device);  // (B, 3, H, W)
    const TokenizerLoss loss = [&] {
      const ConvolutionDtype convolution(dtype);
      return tokenizer.loss(x, step);
    }();
    const double norm = clipped_step(loss.total, lr);
    if (std::isfinite(norm)) tokenizer.after_step(step);
    ++step;

    const int64_t before = result.images;
    result.images += o.batch;
    const bool last = result.images >= o.images;
    const auto crossed = [&](int64_t every) { return last || before / every != result.images / every; };
    const double l2 = loss.l2.item<double>();
    progress.update(static_cast<double>(result.images) / static_cast<double>(o.images),
                    concat(result.images, " images, batch PSNR ", std::round(psnr_db(l2) * 100) / 100, " dB"));
    if (crossed(o.log_images))
      append_json_line(directory / "log.jsonl", {{"images", result.images},
                                                 {"loss", loss.total.item<double>()},
                                                 {"l2", l2},
                                                 {"l1", loss.l1.item<double>()},
                                                 {tokenizer.bottleneck, loss.bottleneck.item<double>()},
                                                 {"psnr", psnr_db(l2)},
                                                 {"grad_norm", norm},
                                                 {"lr", lr},
                                                 {"seconds", now_s() - start_s}});
    if (crossed(o.checkpoint_images) && !last) write();
  }
  result.finished = result.images >= o.images;
  tokenizer.params.set_requires_grad(false);
  write();
  progress.finish();
  return result;
}

}  // namespace

TokenizerTrainingResult train_tokenizer(KlVae& vae, const TrainingImages& images, const TokenizerTrainingOptions& o,
                                        const std::filesystem::path& directory, const std::function<bool()>& stop) {
  return train(trainee(vae, images, o), images, o, directory, stop);
}

TokenizerTrainingResult train_tokenizer(VqVae& vae, const TrainingImages& images, const TokenizerTrainingOptions& o,
                                        const std::filesystem::path& directory, const std::function<bool()>& stop) {
  return train(trainee(vae, images, o), images, o, directory, stop);
}

}  // namespace crescendo
