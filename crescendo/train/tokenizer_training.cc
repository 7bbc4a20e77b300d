#include "crescendo/train/tokenizer_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/image.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "crescendo/train/clipped_steps.h"
#include "crescendo/train/latents.h"
#include "crescendo/train/precision.h"

namespace crescendo {

namespace {

Tensor noise_for(const KlVae& vae, const Tensor& image, uint64_t seed, uint32_t step) {
  const int64_t f = vae.config().factor();
  Tensor noise = at::empty({image.size(0), vae.config().latent_channels, image.size(2) / f, image.size(3) / f});
  Rng(seed, Draw::kPosterior, step).fill_normal({noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});
  return noise.to(vae.device());
}

// Noise of another strength for each image, in the units of what the decoder takes; undefined where none is asked for.
Tensor latent_noise_for(const KlVae& vae, const Tensor& image, double strongest, uint64_t seed, uint32_t step) {
  if (strongest == 0) return {};
  Rng rng(seed, Draw::kPosterior, step, 1);
  std::vector<float> strength(static_cast<size_t>(image.size(0)));
  for (float& s : strength) s = static_cast<float>(rng.uniform(0, strongest) / vae.config().latent_scale);
  return noise_for(vae, image, derive_seed(seed, 3), step) * at::tensor(strength).to(vae.device()).view({-1, 1, 1, 1});
}

// What learns: all of it, or the decoder.
Params trained_parameters(const KlVae& vae, bool freeze_encoder) {
  Params out;
  for (const auto& [name, p] : vae.params().items())
    if (!freeze_encoder || is_of_decoder(name)) out.adopt(name, p);
  return out;
}

double psnr(double mean_square) { return 10 * std::log10(4 / std::max(mean_square, 1e-12)); }

int64_t measure_batch(const TrainingImages& images) { return tokenizer_batch(images.batch(0, 1).images.size(2)); }

}  // namespace

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
  check_usage(loss.l2 >= 0 && loss.l1 >= 0 && loss.kl >= 0 && loss.l2 + loss.l1 > 0,
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

//----------------------------------------------------------------------------
// Loss and measures.

TokenizerLoss tokenizer_loss(const KlVae& vae, const Tensor& image, const Tensor& noise,
                             const TokenizerLossWeights& weights, const Tensor& added) {
  const Tensor moments = vae.encode_moments(image);  // (B, 2C, h, w)
  const Tensor z = sample_posterior(moments, noise);
  const Tensor y = vae.decode(added.defined() ? z + added : z);              // (B, 3, H, W)
  const double values = static_cast<double>(image.numel() / image.size(0));  // numbers in an image
  TokenizerLoss loss;
  loss.l2 = at::mse_loss(y, image);
  loss.l1 = at::l1_loss(y, image);
  loss.kl = kl_divergence(moments).mean() / values;
  loss.total = loss.l2 * weights.l2 + loss.l1 * weights.l1 + loss.kl * weights.kl;
  return loss;
}

ReconstructionQuality reconstruction_quality(const KlVae& vae, const TrainingImages& images, int64_t first,
                                             int64_t count, uint64_t seed) {
  const at::NoGradGuard no_grad;
  check(count > 0, "PSNR needs at least one image");
  double by_mean = 0, by_sample = 0;
  const int64_t batch = measure_batch(images);
  for (int64_t at_image = 0; at_image < count; at_image += batch) {
    const int64_t n = std::min(batch, count - at_image);
    const Tensor x = from_bytes(images.batch(first + at_image, first + at_image + n).images).to(vae.device());
    const Tensor moments = vae.encode_moments(x);
    const Tensor noise = noise_for(vae, x, seed, static_cast<uint32_t>(at_image));
    const auto error = [&](const Tensor& z) {
      return at::mse_loss(vae.decode(z).clamp(-1, 1), x).item<double>() * static_cast<double>(n);
    };
    by_mean += error(sample_posterior(moments));
    by_sample += error(sample_posterior(moments, noise));
  }
  return {psnr(by_mean / static_cast<double>(count)), psnr(by_sample / static_cast<double>(count))};
}

double measure_latent_std(const KlVae& vae, const TrainingImages& images, int64_t count, uint64_t seed) {
  const at::NoGradGuard no_grad;
  count = std::min(count, images.size());
  check(count > 0, "the latent scale needs at least one image");
  double sum = 0, square = 0, values = 0;
  const int64_t batch = measure_batch(images);
  for (int64_t first = 0; first < count; first += batch) {
    const Tensor x = from_bytes(images.batch(first, std::min(count, first + batch)).images).to(vae.device());
    const Tensor noise = noise_for(vae, x, seed, static_cast<uint32_t>(first));
    const Tensor z = sample_posterior(vae.encode_moments(x), noise).to(at::kCPU, at::kDouble);
    sum += z.sum().item<double>();
    square += z.square().sum().item<double>();
    values += static_cast<double>(z.numel());
  }
  const double mean = sum / values;
  return std::sqrt(std::max(0.0, square / values - mean * mean));
}

Json TokenizerTrainingResult::to_json() const {
  return {{"images", images},         {"finished", finished}, {"seconds", seconds},
          {"latent_std", latent_std}, {"psnr", quality.psnr}, {"psnr_sample", quality.psnr_sample}};
}

//----------------------------------------------------------------------------
// The loop.

TokenizerTrainingResult train_tokenizer(KlVae& vae, const TrainingImages& images, const TokenizerTrainingOptions& o,
                                        const std::filesystem::path& directory, const std::function<bool()>& stop) {
  o.validate();
  const int64_t training_images = images.size() - o.held_out;
  check_usage(training_images >= 1, "the data set has ", images.size(), " images and ", o.held_out,
              " are held out: nothing is left to train on; lower held_out");
  make_directories(directory);
  write_json(directory / "options.json", value_to_json(o));
  std::ofstream log(directory / "log.jsonl", std::ios::app);
  check(log.good(), "cannot write ", (directory / "log.jsonl").string());

  Params trained = trained_parameters(vae, o.freeze_encoder);
  AdamW optimizer(trained, o.adamw, [](const std::string&, const Tensor& p) { return p.dim() > 1; });
  ClippedSteps clipped_step(optimizer, o.grad_clip);
  ImageBatches batches(images, training_images, o.batch, static_cast<uint64_t>(o.seed), {.flip = o.flip});
  Progress progress("tokenizer");
  const uint64_t seed = static_cast<uint64_t>(o.seed), measure_seed = derive_seed(seed, 1);
  const double start_s = now_s();
  TokenizerTrainingResult result;

  // Weights with their scale: what lies in DIR/tokenizer can be used at any time, so what is spoilt does not get there.
  const auto write = [&] {
    for (const auto& [name, p] : vae.params().items())
      check(at::isfinite(p).all().item<bool>(), "training broke down: ", name, " is not finite; lower lr");
    result.latent_std = measure_latent_std(vae, images, o.scale_images, measure_seed);
    check(result.latent_std > 0 && std::isfinite(result.latent_std), "training broke down: the latents' standard ",
          "deviation is ", result.latent_std, "; lower lr or loss.kl");
    if (!o.freeze_encoder) vae.set_latent_scale(1 / result.latent_std);
    result.seconds = now_s() - start_s;
    if (o.held_out > 0) result.quality = reconstruction_quality(vae, images, training_images, o.held_out, measure_seed);
    check(std::isfinite(result.quality.psnr) && std::isfinite(result.quality.psnr_sample),
          "training broke down: the PSNR is ", result.quality.psnr, " dB; lower lr");
    save_tokenizer(directory / "tokenizer", vae, result.to_json());
  };

  const at::ScalarType dtype = training_dtype(o.precision, vae.device());
  uint32_t step = 0;
  while (result.images < o.images && !(stop && stop())) {
    const double lr = learning_rate(o.lr_schedule, o.lr, result.images, o.images);
    const Tensor x = batches.next().images.to(vae.device());  // (B, 3, H, W)
    const Tensor noise = noise_for(vae, x, seed, step), added = latent_noise_for(vae, x, o.latent_noise, seed, step);
    ++step;
    const TokenizerLoss loss = [&] {
      const ConvolutionDtype convolution(dtype);
      return tokenizer_loss(vae, x, noise, o.loss, added);
    }();
    const double norm = clipped_step(loss.total, lr);

    const int64_t before = result.images;
    result.images += o.batch;
    const bool last = result.images >= o.images;
    const auto crossed = [&](int64_t every) { return last || before / every != result.images / every; };
    const double l2 = loss.l2.item<double>();
    progress.update(static_cast<double>(result.images) / static_cast<double>(o.images),
                    concat(result.images, " images, batch PSNR ", std::round(psnr(l2) * 100) / 100, " dB"));
    if (crossed(o.log_images)) {
      const Json line = {{"images", result.images},
                         {"loss", loss.total.item<double>()},
                         {"l2", l2},
                         {"l1", loss.l1.item<double>()},
                         {"kl", loss.kl.item<double>()},
                         {"psnr", psnr(l2)},
                         {"grad_norm", norm},
                         {"lr", lr},
                         {"seconds", now_s() - start_s}};
      log << json_text(line) << '\n' << std::flush;
      check(log.good(), "cannot write ", (directory / "log.jsonl").string());
    }
    if (crossed(o.checkpoint_images) && !last) write();
  }
  result.finished = result.images >= o.images;
  vae.params().set_requires_grad(false);
  write();
  progress.finish();
  return result;
}

}  // namespace crescendo
