// image <-> latent: the KL-VAE of latent diffusion (Rombach et al. 2022), as FAR and MAR use it.
//
// encode: image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, H/f, W/f), mean and log-variance of a Gaussian.
// decode: latent (B, C, H/f, W/f) -> image. f = unshuffle * 2^(levels - 1).
// Parameters carry the published names. The latent scale, which gives latents unit variance, is applied here alone:
// everything outside works with latents as to_latent() gives them and decode_latent() takes them.
#pragma once

#include <memory>
#include <string>

#include "crescendo/nn/params.h"
#include "crescendo/tokenizer/autoencoder.h"
#include "crescendo/tokenizer/posterior.h"

namespace crescendo {

class KlVae {
 public:
  static std::unique_ptr<KlVae> random(const KlVaeConfig& config, uint64_t seed);
  // Takes the tensors as they are; throws with names where they do not fit. Names in "loss." may be left over.
  static std::unique_ptr<KlVae> from(const KlVaeConfig& config, TensorMap weights, const std::string& source_name);

  // (B, 3, H, W) in [-1, 1] -> (B, 2C, H/f, W/f): mean and raw log-variance, fp32.
  Tensor encode_moments(const Tensor& image) const;
  // (B, C, h, w), already divided by the latent scale -> (B, 3, f h, f w), fp32 and not clipped.
  Tensor decode(const Tensor& latents) const;
  // Of the convolutions and attention products that decode a latent of these sides; a multiply-add is two.
  double decode_flop(int64_t height, int64_t width) const;

  // moments -> latent with unit variance: (mean + std * noise) * latent_scale; the mean alone where noise is undefined.
  Tensor to_latent(const Tensor& moments, const Tensor& noise = {}) const;
  // The way back: latent with unit variance -> image. Convolutions may run in bf16, what is between them in fp32.
  Tensor decode_latent(const Tensor& latent, at::ScalarType convolutions = at::kFloat) const;

  const KlVaeConfig& config() const { return config_; }
  void set_latent_scale(double scale);
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  at::Device device() const { return params_.items().front().second.device(); }
  at::ScalarType dtype() const { return params_.items().front().second.scalar_type(); }

 private:
  KlVae(const KlVaeConfig& config, Params params);
  KlVaeConfig config_;
  Params params_;
  Encoder encoder_;
  Conv2d quant_conv_;
  Conv2d post_quant_conv_;
  Decoder decoder_;
};

// Published weights, whose sizes are read from names and shapes.
std::unique_ptr<KlVae> kl_vae_from_checkpoint(TensorMap weights, const std::string& source_name);

}  // namespace crescendo
