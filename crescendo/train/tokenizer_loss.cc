#include "crescendo/train/tokenizer_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/image.h"
#include "crescendo/train/latents.h"

namespace crescendo {

namespace {
int64_t measure_batch(const TrainingImages& images) { return tokenizer_batch(images.batch(0, 1).images.size(2)); }
}  // namespace

double psnr_db(double mean_square) { return 10 * std::log10(4 / std::max(mean_square, 1e-12)); }

Tensor posterior_noise(const KlVae& vae, const Tensor& image, uint64_t seed, uint32_t step) {
  const int64_t f = vae.config().factor();
  Tensor noise = at::empty({image.size(0), vae.config().latent_channels, image.size(2) / f, image.size(3) / f});
  Rng(seed, Draw::kPosterior, step).fill_normal({noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});
  return noise.to(vae.device());
}

Tensor decoder_noise(const KlVae& vae, const Tensor& image, double strongest, uint64_t seed, uint32_t step) {
  if (strongest == 0) return {};
  Rng rng(seed, Draw::kPosterior, step, 1);
  std::vector<float> strength(static_cast<size_t>(image.size(0)));
  for (float& s : strength) s = static_cast<float>(rng.uniform(0, strongest) / vae.config().latent_scale);
  return posterior_noise(vae, image, derive_seed(seed, 3), step) * at::tensor(strength).to(vae.device()).view({-1, 1, 1, 1});
}

TokenizerLoss tokenizer_loss(const KlVae& vae, const Tensor& image, const Tensor& noise,
                             const TokenizerLossWeights& weights, const Tensor& added) {
  const Tensor moments = vae.encode_moments(image);  // (B, 2C, h, w)
  const Tensor z = sample_posterior(moments, noise);
  const Tensor y = vae.decode(added.defined() ? z + added : z);              // (B, 3, H, W)
  const double values = static_cast<double>(image.numel() / image.size(0));  // elements of an image
  TokenizerLoss loss;
  loss.l2 = at::mse_loss(y, image);
  loss.l1 = at::l1_loss(y, image);
  loss.bottleneck = kl_divergence(moments).mean() / values;
  loss.total = loss.l2 * weights.l2 + loss.l1 * weights.l1 + loss.bottleneck * weights.kl;
  return loss;
}

ReconstructionQuality reconstruction_quality(const KlVae& vae, const TrainingImages& images, int64_t first,
                                             int64_t count, uint64_t seed) {
  const at::NoGradGuard no_grad;
  check(count > 0, "PSNR needs at least one image");
  double by_mean = 0, by_sample = 0, kl = 0;
  const int64_t batch = measure_batch(images);
  for (int64_t at_image = 0; at_image < count; at_image += batch) {
    const int64_t n = std::min(batch, count - at_image);
    const Tensor x = from_bytes(images.batch(first + at_image, first + at_image + n).images).to(vae.device());
    const Tensor moments = vae.encode_moments(x);
    const Tensor noise = posterior_noise(vae, x, seed, static_cast<uint32_t>(at_image));
    const auto error = [&](const Tensor& z) {
      return at::mse_loss(vae.decode(z).clamp(-1, 1), x).item<double>() * static_cast<double>(n);
    };
    by_mean += error(sample_posterior(moments));
    by_sample += error(sample_posterior(moments, noise));
    kl += kl_divergence(moments).sum().item<double>() / static_cast<double>(x[0].numel());
  }
  return {psnr_db(by_mean / static_cast<double>(count)), psnr_db(by_sample / static_cast<double>(count)),
          kl / static_cast<double>(count)};
}

VqLoss vq_loss(const VqVae& vae, const Tensor& image, const TokenizerLossWeights& weights) {
  const Tensor z = vae.vectors(image);                 // (B, C, h, w)
  const Tensor codes = vae.codes_of(z.detach());       // (B, h, w)
  const Tensor e = vae.vectors_of(codes).detach();     // (B, C, h, w)
  const Tensor y = vae.decode_vectors(z + (e - z).detach());
  VqLoss out;
  out.loss.l2 = at::mse_loss(y, image);
  out.loss.l1 = at::l1_loss(y, image);
  out.loss.bottleneck = at::mse_loss(z, e);
  out.loss.total =
      out.loss.l2 * weights.l2 + out.loss.l1 * weights.l1 + out.loss.bottleneck * weights.commitment;
  out.vectors = z.detach().permute({0, 2, 3, 1}).flatten(0, 2);
  out.codes = codes.flatten();
  return out;
}

VqQuality reconstruction_quality(const VqVae& vae, const TrainingImages& images, int64_t first, int64_t count) {
  const at::NoGradGuard no_grad;
  check(count > 0, "PSNR needs at least one image");
  double error = 0;
  std::vector<Tensor> codes;
  const int64_t batch = measure_batch(images);
  for (int64_t at_image = 0; at_image < count; at_image += batch) {
    const int64_t n = std::min(batch, count - at_image);
    const Tensor x = from_bytes(images.batch(first + at_image, first + at_image + n).images).to(vae.device());
    codes.push_back(vae.encode(x));
    error += at::mse_loss(vae.decode(codes.back()).clamp(-1, 1), x).item<double>() * static_cast<double>(n);
  }
  return {psnr_db(error / static_cast<double>(count)), code_use(at::cat(codes), vae.config().codes)};
}

double measure_latent_std(const KlVae& vae, const TrainingImages& images, int64_t count, uint64_t seed) {
  const at::NoGradGuard no_grad;
  count = std::min(count, images.size());
  check(count > 0, "the latent scale needs at least one image");
  double sum = 0, square = 0, values = 0;
  const int64_t batch = measure_batch(images);
  for (int64_t first = 0; first < count; first += batch) {
    const Tensor x = from_bytes(images.batch(first, std::min(count, first + batch)).images).to(vae.device());
    const Tensor noise = posterior_noise(vae, x, seed, static_cast<uint32_t>(first));
    const Tensor z = sample_posterior(vae.encode_moments(x), noise).to(at::kCPU, at::kDouble);
    sum += z.sum().item<double>();
    square += z.square().sum().item<double>();
    values += static_cast<double>(z.numel());
  }
  const double mean = sum / values;
  return std::sqrt(std::max(0.0, square / values - mean * mean));
}

}  // namespace crescendo
