#include "crescendo/tokenizer/kl_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

std::vector<VaeLevel> make_down(const Scope& s, const KlVaeConfig& c) {
  std::vector<VaeLevel> levels;
  for (int64_t i = 0; i <= c.lowest_level(); ++i) {
    VaeLevel& level = levels.emplace_back();
    const int64_t width = c.channels_of(i), before = i == 0 ? c.base_channels : c.channels_of(i - 1);
    const bool attends = std::ranges::count(c.attention_levels, i) > 0;
    for (int64_t m = 0; m < c.residual_blocks; ++m) {
      level.blocks.emplace_back(s / i / "block" / m, m == 0 ? before : width, width, c.norm_groups);
      if (attends) level.attention.emplace_back(s / i / "attn" / m, width, c.norm_groups);
    }
    if (i < c.lowest_level()) level.resample.emplace(s / i / "downsample" / "conv", width, width, 3, /*stride=*/2);
  }
  return levels;
}

std::vector<VaeLevel> make_up(const Scope& s, const KlVaeConfig& c) {
  std::vector<VaeLevel> levels;
  for (int64_t i = 0; i <= c.lowest_level(); ++i) {
    VaeLevel& level = levels.emplace_back();
    const int64_t width = c.channels_of(i), before = c.channels_of(std::min(i + 1, c.lowest_level()));
    for (int64_t m = 0; m < c.blocks_up(); ++m)
      level.blocks.emplace_back(s / i / "block" / m, m == 0 ? before : width, width, c.norm_groups);
    if (i > 0) level.resample.emplace(s / i / "upsample" / "conv", width, width, 3);
  }
  return levels;
}

std::optional<VaeMiddle> make_middle(const Scope& scope, const KlVaeConfig& c) {
  if (!c.middle) return std::nullopt;
  return VaeMiddle(scope, c.channels_of(c.lowest_level()), c);
}

// Channels last, in which convolutions run faster on a CPU and in bf16, and every layer hands it on. Gradients of small
// convolutions do not gain.
Tensor laid_out(const Tensor& x) {
  return at::GradMode::is_enabled() ? x : x.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

KlVae::KlVae(const KlVaeConfig& c, Params params)
    : config_((c.validate(), c)),
      params_(std::move(params)),
      encoder_in_(Scope(params_) / "encoder" / "conv_in", c.pixel_channels(), c.base_channels, 3),
      down_(make_down(Scope(params_) / "encoder" / "down", c)),
      encoder_middle_(make_middle(Scope(params_) / "encoder" / "mid", c)),
      encoder_norm_(Scope(params_) / "encoder" / "norm_out", c.channels_of(c.lowest_level()), c.norm_groups),
      encoder_out_(Scope(params_) / "encoder" / "conv_out", c.channels_of(c.lowest_level()), 2 * c.latent_channels, 3),
      quant_conv_(Scope(params_) / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels, 1),
      post_quant_conv_(Scope(params_) / "post_quant_conv", c.latent_channels, c.latent_channels, 1),
      decoder_in_(Scope(params_) / "decoder" / "conv_in", c.latent_channels, c.channels_of(c.lowest_level()), 3),
      decoder_middle_(make_middle(Scope(params_) / "decoder" / "mid", c)),
      up_(make_up(Scope(params_) / "decoder" / "up", c)),
      decoder_norm_(Scope(params_) / "decoder" / "norm_out", c.channels_of(0), c.norm_groups),
      decoder_out_(Scope(params_) / "decoder" / "conv_out", c.channels_of(0), c.pixel_channels(), 3) {
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
  const int64_t f = config_.factor();
  check(image.dim() == 4 && image.size(1) == config_.image_channels, "tokenizer: an image must be (B, ",
        config_.image_channels, ", H, W), got ", image.sizes());
  check(image.is_floating_point(), "tokenizer: an image must hold floats in [-1, 1], got ", image.scalar_type());
  check(image.size(2) > 0 && image.size(3) > 0 && image.size(2) % f == 0 && image.size(3) % f == 0,
        "tokenizer: the sides of an image must be multiples of ", f, ", got ", image.size(2), " x ", image.size(3),
        "; crop or resize it first");
  Tensor x = laid_out(image.to(device(), dtype()));
  if (config_.unshuffle > 1) x = at::pixel_unshuffle(x, config_.unshuffle);
  x = encoder_in_(x);  // (B, base, H/u, W/u)
  for (const VaeLevel& level : down_) {
    x = level.run_blocks(std::move(x));
    if (level.resample) x = (*level.resample)(x);  // half the side
  }
  if (encoder_middle_) x = (*encoder_middle_)(x);
  x = quant_conv_(encoder_out_(encoder_norm_.activated(x)));  // (B, 2C, h, w)
  return x.contiguous().to(at::kFloat);
}

Tensor KlVae::decode(const Tensor& latents) const {
  check(latents.dim() == 4 && latents.size(1) == config_.latent_channels, "tokenizer: latents must be (B, ",
        config_.latent_channels, ", h, w), got ", latents.sizes());
  check(latents.is_floating_point() && latents.size(2) > 0 && latents.size(3) > 0,
        "tokenizer: latents must be floats with sides of 1 or more, got ", latents.sizes(), " of ",
        latents.scalar_type());
  Tensor x = decoder_in_(post_quant_conv_(laid_out(latents.to(device(), dtype()))));
  if (decoder_middle_) x = (*decoder_middle_)(x);
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    x = level->run_blocks(std::move(x));
    if (level->resample) x = upsampled(x, *level->resample);
  }
  x = decoder_out_(decoder_norm_.activated(x));  // (B, 3 u u, H/u, W/u)
  if (config_.unshuffle > 1) x = at::pixel_shuffle(x, config_.unshuffle);
  return x.contiguous().to(at::kFloat);
}

double KlVae::decode_flop(int64_t height, int64_t width) const {
  auto positions = static_cast<double>(height * width);
  double macs = 0;
  const auto count = [&](const Conv2d& conv) { macs += positions * static_cast<double>(conv.weight.numel()); };
  const auto count_block = [&](const ResidualBlock& block) {
    count(block.conv1);
    count(block.conv2);
    if (block.nin_shortcut) count(*block.nin_shortcut);
  };
  const auto count_attention = [&](const SpatialAttention& a) {
    for (const Conv2d* conv : {&a.q, &a.k, &a.v, &a.proj_out}) count(*conv);
    macs += 2 * positions * positions * static_cast<double>(a.q.weight.size(0));
  };
  count(post_quant_conv_);
  count(decoder_in_);
  if (decoder_middle_) {
    count_block(decoder_middle_->block_1);
    if (decoder_middle_->attn_1) count_attention(*decoder_middle_->attn_1);
    count_block(decoder_middle_->block_2);
  }
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    for (const ResidualBlock& block : level->blocks) count_block(block);
    for (const SpatialAttention& a : level->attention) count_attention(a);
    if (!level->resample) continue;
    positions *= 4;
    count(*level->resample);
  }
  count(decoder_out_);
  return 2 * macs;
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
