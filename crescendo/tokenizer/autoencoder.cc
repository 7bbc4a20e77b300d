#include "crescendo/tokenizer/autoencoder.h"

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

}  // namespace

Tensor channels_last_in_use(const Tensor& x) {
  return at::GradMode::is_enabled() ? x : x.contiguous(at::MemoryFormat::ChannelsLast);
}

Encoder::Encoder(const Scope& scope, const KlVaeConfig& c, int64_t out)
    : config_(c),
      in_(scope / "conv_in", c.pixel_channels(), c.base_channels, 3),
      down_(make_down(scope / "down", c)),
      middle_(make_middle(scope / "mid", c)),
      norm_(scope / "norm_out", c.channels_of(c.lowest_level()), c.norm_groups),
      out_(scope / "conv_out", c.channels_of(c.lowest_level()), out, 3) {}

Tensor Encoder::operator()(const Tensor& image) const {
  const int64_t f = config_.factor();
  check(image.dim() == 4 && image.size(1) == config_.image_channels, "tokenizer: an image must be (B, ",
        config_.image_channels, ", H, W), got ", image.sizes());
  check(image.is_floating_point(), "tokenizer: an image must hold floats in [-1, 1], got ", image.scalar_type());
  check(image.size(2) > 0 && image.size(3) > 0 && image.size(2) % f == 0 && image.size(3) % f == 0,
        "tokenizer: the sides of an image must be multiples of ", f, ", got ", image.size(2), " x ", image.size(3),
        "; crop or resize it first");
  Tensor x = channels_last_in_use(image.to(in_.weight.device(), in_.weight.scalar_type()));
  if (config_.unshuffle > 1) x = at::pixel_unshuffle(x, config_.unshuffle);
  x = in_(x);  // (B, base, H/u, W/u)
  for (const VaeLevel& level : down_) {
    x = level.run_blocks(std::move(x));
    if (level.resample) x = (*level.resample)(x);  // half the side
  }
  if (middle_) x = (*middle_)(x);
  return out_(norm_.activated(x));
}

Decoder::Decoder(const Scope& scope, const KlVaeConfig& c)
    : config_(c),
      in_(scope / "conv_in", c.latent_channels, c.channels_of(c.lowest_level()), 3),
      middle_(make_middle(scope / "mid", c)),
      up_(make_up(scope / "up", c)),
      norm_(scope / "norm_out", c.channels_of(0), c.norm_groups),
      out_(scope / "conv_out", c.channels_of(0), c.pixel_channels(), 3) {}

Tensor Decoder::operator()(const Tensor& latents) const {
  Tensor x = in_(latents);
  if (middle_) x = (*middle_)(x);
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    x = level->run_blocks(std::move(x));
    if (level->resample) x = upsampled(x, *level->resample);
  }
  x = out_(norm_.activated(x));  // (B, 3 u u, H/u, W/u)
  if (config_.unshuffle > 1) x = at::pixel_shuffle(x, config_.unshuffle);
  return x.contiguous().to(at::kFloat);
}

double Decoder::flop(int64_t height, int64_t width) const {
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
  count(in_);
  if (middle_) {
    count_block(middle_->block_1);
    if (middle_->attn_1) count_attention(*middle_->attn_1);
    count_block(middle_->block_2);
  }
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    for (const ResidualBlock& block : level->blocks) count_block(block);
    for (const SpatialAttention& a : level->attention) count_attention(a);
    if (!level->resample) continue;
    positions *= 4;
    count(*level->resample);
  }
  count(out_);
  return 2 * macs;
}

}  // namespace crescendo
