// (tokens, condition) -> z: the encoder and decoder of FAR, MAE style (paper, section 5.1 "Models").
//
// The encoder sees the visible tokens behind `buffer_size` copies of the class vector; the decoder sees every position,
// with a learned token where one is missing. Nothing missing is the no-mask mode. Parameters carry the published names.
#pragma once

#include <optional>
#include <vector>

#include "crescendo/model/blocks.h"
#include "crescendo/model/conditions.h"

namespace crescendo {

// Which tokens are hidden from the encoder.
struct TokenMask {
  Tensor missing;       // (B, L) bool; undefined: every token is visible
  int64_t visible = 0;  // the most visible tokens of any row
  bool even = true;     // all rows show the same number; otherwise the shorter ones are padded

  static TokenMask none() { return {}; }
  static TokenMask of(const Tensor& missing);  // counts, which waits for the device
  bool any() const { return missing.defined(); }
};

// Dropout rates while training; zero for use. Without a generator LibTorch's own is used.
struct BackboneDropout {
  double attention = 0.0, projection = 0.0;
  std::optional<at::Generator> generator{};
};

class Backbone : public Conditions {
 public:
  Backbone(const Scope& scope, const ModelConfig& config);
  // A copy whose layers compute their products so; with int8 those of the first layer are packed instead. Packed
  // weights take as much memory again.
  Backbone prepared(Products how) const;

  // (B, L, C), condition as Conditions gives it -> z (B, L, D).
  Tensor forward(const Tensor& tokens, const Tensor& condition, const TokenMask& mask,
                 BackboneDropout dropout = {}) const;

  // The two halves of forward, for tests. Encoder output: (B, buffer_size + visible, D).
  Tensor encode(const Tensor& tokens, const Tensor& condition, const TokenMask& mask,
                BackboneDropout dropout = {}) const;
  Tensor decode(const Tensor& encoded, const Tensor& condition, const TokenMask& mask,
                BackboneDropout dropout = {}) const;

 private:
  // -inf on the padding rows of an uneven mask: (B, 1, 1, buffer_size + visible).
  std::optional<Tensor> padding_bias(const TokenMask& mask, const Tensor& like) const;
  // The blocks, then the norm that ends them.
  Tensor run(const std::vector<Block>& blocks, const LayerNorm& norm, Tensor x, const BlockInput& in) const;

  ModelConfig config_;
  Tensor mask_token_;          // (1, 1, D)
  Tensor encoder_position_;    // (1, buffer_size + L, D)
  Tensor decoder_position_;    // (1, buffer_size + L, D)
  Tensor diffusion_position_;  // (1, L, D)
  Linear z_proj_;
  LayerNorm z_proj_ln_;
  std::vector<Block> encoder_blocks_;
  LayerNorm encoder_norm_;
  Linear decoder_embed_;
  std::vector<Block> decoder_blocks_;
  LayerNorm decoder_norm_;
};

}  // namespace crescendo
