// Transformer blocks: the ViT block of the class models and the cross-attention block of the text model.
#pragma once

#include <optional>
#include <variant>

#include "crescendo/nn/layers.h"

namespace crescendo {

struct BlockConfig {
  int64_t width;  // D
  int64_t heads;
  int64_t attention_width;  // heads * channels of a head
  int64_t mlp_ratio;
};

// What a block may look at besides its tokens.
struct BlockInput {
  Tensor context;              // (B, N, D) text; undefined in class models
  std::optional<Tensor> bias;  // added to the scores, broadcast to (B, heads, M, M): -inf where a key is not seen
  Dropout attention_dropout{}, projection_dropout{};
  // Keys and values of the rows so far: (2, B, N, heads * d). A ViT block writes those of its own rows at the end and
  // attends to all N. Undefined: to its own rows.
  Tensor cache{};
};

// x + attn(LN x); x + mlp(LN x). GELU exact, LayerNorm eps 1e-6.
class VitBlock {
 public:
  VitBlock(const Scope& scope, const BlockConfig& config);
  void operator()(ResidualStream& x, const BlockInput& in) const;  // (B, M, D)
  void prepare(Products how);                                      // its layers: Linear::prepare

 private:
  int64_t heads_;
  LayerNorm norm1_;
  Linear qkv_, proj_;
  LayerNorm norm2_;
  Linear fc1_, fc2_;
};

// x + self(LN x); x + cross(LN x, text); x + ff(LN x). LayerNorms without affine, eps 1e-5; GELU by tanh.
class CrossBlock {
 public:
  CrossBlock(const Scope& scope, const BlockConfig& config);
  void operator()(ResidualStream& x, const BlockInput& in) const;
  void prepare(Products how);

 private:
  struct Attention {
    Attention(const Scope& scope, const BlockConfig& config);
    Linear to_q, to_k, to_v, to_out;
    Tensor operator()(const Tensor& x, const Tensor& context, int64_t heads, const std::optional<Tensor>& bias,
                      const BlockInput& in) const;
  };
  int64_t heads_;
  LayerNorm norm_;
  Attention self_, cross_;
  Linear ff0_, ff2_;
};

using Block = std::variant<VitBlock, CrossBlock>;

}  // namespace crescendo
