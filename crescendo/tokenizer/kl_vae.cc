#include "crescendo/tokenizer/kl_vae.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"

namespace crescendo {

KlVae::KlVae(const KlVaeConfig& c, Params params)
    : config_((c.validate(), c)),
      params_(std::move(params)),
      encoder_(Scope(params_) / "encoder", c, 2 * c.latent_channels),
      quant_conv_(Scope(params_) / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels, 1),
      post_quant_conv_(Scope(params_) / "post_quant_conv", c.latent_channels, c.latent_channels, 1),
      decoder_(Scope(params_) / "decoder", c) {
  params_.finish();
}

std::unique_ptr<KlVae> KlVae::random(const KlVaeConfig& config, uint64_t seed) {
  return std::unique_ptr<KlVae>(new KlVae(config, Params::random(seed)));
}

std::unique_ptr<KlVae> KlVae::from(const KlVaeConfig& config, TensorMap weights, const std::string& source_name) {
  return std::unique_ptr<KlVae>(new KlVae(config, Params::from(std::move(weights), source_name, {"loss."})));
}

std::unique_ptr<KlVae> kl_vae_from_checkpoint(TensorMap weights, const std::string& source_name) {
  const KlVaeConfig config = kl_vae_config_from(weights, source_name);
  return KlVae::from(config, std::move(weights), source_name);
}

void KlVae::set_latent_scale(double scale) {
  KlVaeConfig changed = config_;
  changed.latent_scale = scale;
  changed.validate();
  config_ = changed;
}

Tensor KlVae::encode_moments(const Tensor& image) const {
  return quant_conv_(encoder_(image)).contiguous().to(at::kFloat);  // (B, 2C, h, w)
}

Tensor KlVae::decode(const Tensor& latents) const {
  check(latents.dim() == 4 && latents.size(1) == config_.latent_channels, "tokenizer: latents must be (B, ",
        config_.latent_channels, ", h, w), got ", latents.sizes());
  check(latents.is_floating_point() && latents.size(2) > 0 && latents.size(3) > 0,
        "tokenizer: latents must be floats with sides of 1 or more, got ", latents.sizes(), " of ",
        latents.scalar_type());
  return decoder_(post_quant_conv_(channels_last_in_use(latents.to(device(), dtype()))));
}

double KlVae::decode_flop(int64_t height, int64_t width) const {
  return 2 * static_cast<double>(height * width * post_quant_conv_.weight.numel()) + decoder_.flop(height, width);
}

Tensor KlVae::to_latent(const Tensor& moments, const Tensor& noise) const {
  return sample_posterior(moments, noise) * config_.latent_scale;
}

Tensor KlVae::decode_latent(const Tensor& latent, at::ScalarType convolutions) const {
  std::optional<ConvolutionDtype> low;
  if (convolutions != at::kFloat) low.emplace(convolutions);
  return decode(latent / config_.latent_scale);
}

}  // namespace crescendo
