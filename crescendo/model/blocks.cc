#include "crescendo/model/blocks.h"

#include <ATen/ATen.h>

namespace crescendo {

VitBlock::VitBlock(const Scope& s, const BlockConfig& c)
    : heads_(c.heads),
      norm1_(s / "norm1", c.width, 1e-6),
      qkv_(s / "attn.qkv", c.width, 3 * c.attention_width),
      proj_(s / "attn.proj", c.attention_width, c.width),
      norm2_(s / "norm2", c.width, 1e-6),
      fc1_(s / "mlp.fc1", c.width, c.mlp_ratio * c.width),
      fc2_(s / "mlp.fc2", c.mlp_ratio * c.width, c.width) {}

void VitBlock::operator()(ResidualStream& x, const BlockInput& in) const {
  auto qkv = qkv_(norm1_(x)).chunk(3, -1);  // three times (B, M, heads * d)
  if (in.cache.defined())
    for (const int64_t i : {0, 1}) {
      const Tensor rows = in.cache[i];  // (B, N, heads * d)
      Tensor& own = qkv[static_cast<size_t>(i + 1)];
      rows.narrow(1, rows.size(1) - own.size(1), own.size(1)).copy_(own);
      own = rows;
    }
  const Tensor mixed = attention(split_heads(qkv[0], heads_), split_heads(qkv[1], heads_), split_heads(qkv[2], heads_),
                                 in.bias, in.attention_dropout);
  x.branch = in.projection_dropout(proj_(merge_heads(mixed)));
  const Tensor hidden = in.projection_dropout(at::gelu(fc1_(norm2_(x))));  // (B, M, ratio * D)
  x.branch = in.projection_dropout(fc2_(hidden));
}

void VitBlock::prepare(Products how) {
  for (Linear* l : {&qkv_, &proj_, &fc1_, &fc2_}) l->prepare(how);
}

CrossBlock::Attention::Attention(const Scope& s, const BlockConfig& c)
    : to_q(s / "to_q", c.width, c.attention_width),
      to_k(s / "to_k", c.width, c.attention_width),
      to_v(s / "to_v", c.width, c.attention_width),
      to_out(s / "to_out.0", c.attention_width, c.width) {}

Tensor CrossBlock::Attention::operator()(const Tensor& x, const Tensor& context, int64_t heads,
                                         const std::optional<Tensor>& bias, const BlockInput& in) const {
  const Tensor mixed = attention(split_heads(to_q(x), heads), split_heads(to_k(context), heads),
                                 split_heads(to_v(context), heads), bias, in.attention_dropout);
  return in.projection_dropout(to_out(merge_heads(mixed)));
}

CrossBlock::CrossBlock(const Scope& s, const BlockConfig& c)
    : heads_(c.heads),
      norm_(c.width, 1e-5),
      self_(s / "attn1", c),
      cross_(s / "attn2", c),
      ff0_(s / "ff.net.0.proj", c.width, c.mlp_ratio * c.width),
      ff2_(s / "ff.net.2", c.mlp_ratio * c.width, c.width) {}

void CrossBlock::operator()(ResidualStream& x, const BlockInput& in) const {
  const Tensor own = norm_(x);
  x.branch = self_(own, own, heads_, in.bias, in);
  x.branch = cross_(norm_(x), in.context, heads_, std::nullopt, in);
  x.branch = ff2_(in.projection_dropout(at::gelu(ff0_(norm_(x)), "tanh")));
}

void CrossBlock::prepare(Products how) {
  for (Attention* a : {&self_, &cross_})
    for (Linear* l : {&a->to_q, &a->to_k, &a->to_v, &a->to_out}) l->prepare(how);
  ff0_.prepare(how);
  ff2_.prepare(how);
}

}  // namespace crescendo
