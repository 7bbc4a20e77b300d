#include "crescendo/model/backbone.h"

#include <ATen/ATen.h>

#include <limits>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

std::vector<Block> make_blocks(const Scope& scope, const ModelConfig& c, int64_t count) {
  const BlockConfig config{c.width, c.heads, c.attention_width(), c.mlp_ratio};
  std::vector<Block> blocks;
  for (int64_t i = 0; i < count; ++i) {
    if (c.is_text())
      blocks.emplace_back(std::in_place_type<CrossBlock>, scope / i, config);
    else
      blocks.emplace_back(std::in_place_type<VitBlock>, scope / i, config);
  }
  return blocks;
}

// Rows x[b, index[b, j], :] of x (B, M, D) for index (B, K): (B, K, D).
Tensor take_rows(const Tensor& x, const Tensor& index) {
  return x.gather(1, index.unsqueeze(2).expand({index.size(0), index.size(1), x.size(2)}));
}

}  // namespace

TokenMask TokenMask::of(const Tensor& missing) {
  const Tensor visible = missing.logical_not().sum({1}).to(at::kCPU);
  const auto most = visible.max().item<int64_t>();
  return {missing, most, visible.min().item<int64_t>() == most};
}

Backbone::Backbone(const Scope& s, const ModelConfig& c)
    : Conditions(s, c),
      config_(c),
      mask_token_(s.add("mask_token", {1, 1, c.width}, Init::kNormal002)),
      encoder_position_(s.add("encoder_pos_embed_learned", {1, c.buffer_size + c.tokens(), c.width}, Init::kNormal002)),
      decoder_position_(s.add("decoder_pos_embed_learned", {1, c.buffer_size + c.tokens(), c.width}, Init::kNormal002)),
      diffusion_position_(s.add("diffusion_pos_embed_learned", {1, c.tokens(), c.width}, Init::kNormal002)),
      z_proj_(s / "z_proj", c.token_channels(), c.width),
      z_proj_ln_(s / "z_proj_ln", c.width, 1e-6),
      encoder_blocks_(make_blocks(s / "encoder_blocks", c, c.encoder_blocks)),
      encoder_norm_(s / "encoder_norm", c.width, 1e-6),
      decoder_embed_(s / "decoder_embed", c.width, c.width),
      decoder_blocks_(make_blocks(s / "decoder_blocks", c, c.decoder_blocks)),
      decoder_norm_(s / "decoder_norm", c.width, 1e-6) {}

Backbone Backbone::prepared(Products how) const {
  Backbone copy = *this;
  copy.z_proj_.prepare(how == Products::kInt8 ? Products::kPacked : how);
  copy.decoder_embed_.prepare(how);
  for (std::vector<Block>* blocks : {&copy.encoder_blocks_, &copy.decoder_blocks_})
    for (Block& block : *blocks) std::visit([&](auto& b) { b.prepare(how); }, block);
  return copy;
}

std::optional<Tensor> Backbone::padding_bias(const TokenMask& mask, const Tensor& like) const {
  if (!mask.any() || mask.even) return std::nullopt;
  const int64_t buffer = config_.buffer_size;
  const Tensor count = mask.missing.logical_not().sum({1}, /*keepdim=*/true);            // (B, 1)
  const Tensor place = at::arange(-buffer, mask.visible, count.options()).unsqueeze(0);  // (1, buffer + V)
  const Tensor padding = place.ge(count);                                                // (B, buffer + V)
  // A row without visible tokens (a text model with every token masked) attends evenly to its padding, whose output is
  // discarded; -inf everywhere would make it NaN.
  const double lowest = buffer > 0 ? -std::numeric_limits<double>::infinity() : -1e30;
  return at::zeros(padding.sizes(), like.options()).masked_fill(padding, lowest).unsqueeze(1).unsqueeze(1);
}

Tensor Backbone::run(const std::vector<Block>& blocks, const LayerNorm& norm, Tensor x, const BlockInput& in) const {
  ResidualStream stream{std::move(x), {}};
  for (const Block& block : blocks) std::visit([&](const auto& b) { b(stream, in); }, block);
  return norm(stream);
}

Tensor Backbone::encode(const Tensor& tokens, const Tensor& condition, const TokenMask& mask,
                        BackboneDropout dropout) const {
  const int64_t batch = tokens.size(0), buffer = config_.buffer_size;
  Tensor x = z_proj_(tokens) + encoder_position_.slice(1, buffer);  // (B, L, D)
  if (mask.any()) {
    // Visible tokens first, in their order; the first `visible` of each row stay.
    const Tensor order =
        std::get<1>(at::sort(mask.missing.to(at::kByte), /*stable=*/true, /*dim=*/1, /*descending=*/false));
    x = take_rows(x, order.slice(1, 0, mask.visible));  // (B, V, D)
  }
  if (buffer > 0) {
    const Tensor rows = condition.expand({batch, buffer, config_.width}) + encoder_position_.slice(1, 0, buffer);
    x = at::cat({rows, x}, 1);  // (B, buffer + V, D)
  }
  const BlockInput in{config_.is_text() ? condition : Tensor(),
                      padding_bias(mask, x),
                      {dropout.attention, dropout.generator},
                      {dropout.projection, dropout.generator}};
  return run(encoder_blocks_, encoder_norm_, z_proj_ln_(x), in);
}

Tensor Backbone::decode(const Tensor& encoded, const Tensor& condition, const TokenMask& mask,
                        BackboneDropout dropout) const {
  const int64_t buffer = config_.buffer_size;
  Tensor x = decoder_embed_(encoded);  // (B, buffer + V, D)
  if (mask.any()) {
    Tensor all = mask_token_.to(x.scalar_type()).expand({x.size(0), config_.tokens(), config_.width});
    if (mask.visible > 0) {
      const Tensor place =
          mask.missing.logical_not().cumsum(1).sub(1).clamp_min(0);  // (B, L) which visible token stands here
      all = at::where(mask.missing.unsqueeze(2), all, take_rows(x.slice(1, buffer), place));
    }
    x = at::cat({x.slice(1, 0, buffer), all}, 1);  // (B, buffer + L, D)
  }
  const BlockInput in{config_.is_text() ? condition : Tensor(),
                      std::nullopt,
                      {dropout.attention, dropout.generator},
                      {dropout.projection, dropout.generator}};
  x = run(decoder_blocks_, decoder_norm_, x + decoder_position_, in);
  return x.slice(1, buffer) + diffusion_position_;  // (B, L, D)
}

Tensor Backbone::forward(const Tensor& tokens, const Tensor& condition, const TokenMask& mask,
                         BackboneDropout dropout) const {
  check(tokens.dim() == 3 && tokens.size(1) == config_.tokens() && tokens.size(2) == config_.token_channels(),
        "tokens must be (B, ", config_.tokens(), ", ", config_.token_channels(), "), got ", tokens.sizes());
  return decode(encode(tokens, condition, mask, dropout), condition, mask, dropout);
}

}  // namespace crescendo
