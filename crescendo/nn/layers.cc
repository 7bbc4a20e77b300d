#include "crescendo/nn/layers.h"

#include <ATen/ATen.h>

#include <cmath>

namespace crescendo {

Tensor Dropout::operator()(const Tensor& x) const {
  if (rate <= 0.0) return x;
  const Tensor kept = at::empty_like(x, x.options().requires_grad(false));
  if (generator)
    kept.bernoulli_(1 - rate, *generator);
  else
    kept.bernoulli_(1 - rate);
  return x * kept.div_(1 - rate);
}

Linear::Linear(const Scope& scope, int64_t in, int64_t out, Init init)
    : weight(scope.add("weight", {out, in}, init)), bias(scope.add("bias", {out}, Init::kZeros)) {}

Tensor Linear::operator()(const Tensor& x) const { return at::linear(x, weight, bias); }

LayerNorm::LayerNorm(const Scope& scope, int64_t width, double eps)
    : width(width),
      eps(eps),
      weight(scope.add("weight", {width}, Init::kOnes)),
      bias(scope.add("bias", {width}, Init::kZeros)) {}

Tensor LayerNorm::operator()(const Tensor& x) const {
  // On a CPU LibTorch's own in bf16 is an order slower than the one in fp32 with both conversions (1.13).
  if (x.is_cpu() && x.scalar_type() == at::kBFloat16 && weight.defined() && weight.scalar_type() == at::kBFloat16)
    return at::layer_norm(x.to(at::kFloat), {width}, weight.to(at::kFloat), bias.to(at::kFloat), eps).to(at::kBFloat16);
  // Under autocast a product may have come out in low precision; the statistics are taken in the weights' own.
  return at::layer_norm(weight.defined() ? x.to(weight.scalar_type()) : x, {width}, weight, bias, eps);
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias,
                 Dropout dropout) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  Tensor scores = at::matmul(q * scale, k.transpose(-2, -1));  // (B, heads, N, M)
  if (bias) scores = scores + *bias;
  return at::matmul(dropout(at::softmax(scores, -1)), v);  // (B, heads, N, d)
}

Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

Tensor merge_heads(const Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)}); }

}  // namespace crescendo
