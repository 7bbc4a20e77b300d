#include "crescendo/nn/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "crescendo/core/torch_compat.h"
#include "crescendo/kernels/cpu/attention.h"
#include "crescendo/kernels/row_passes.h"
#include "crescendo/nn/linear_product.h"

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

struct Linear::Packed {
  PackedWeight weight;
  Tensor bias;  // in fp32
};

Tensor Linear::operator()(const Tensor& x) const {
  if (at::GradMode::is_enabled() || !packed || x.scalar_type() != weight.scalar_type()) return linear(x, weight, bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = bias.size(0);
  Tensor out = at::empty(shape, x.options());
  packed->weight.multiply(x.contiguous(), packed->bias, out);
  return out;
}

void Linear::prepare(Products how) {
  packed = PackedWeight::serves(weight, how)
               ? std::make_shared<const Packed>(Packed{PackedWeight(weight, how), bias.detach().to(at::kFloat)})
               : nullptr;
}

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

namespace {

template <class T>
Tensor add_norm(ResidualStream& stream, const LayerNorm& norm) {
  const Tensor x = stream.x.contiguous(), branch = stream.branch.contiguous();
  const Tensor sum = at::empty_like(x), out = at::empty_like(x);
  const auto data = [](const Tensor& t) { return t.defined() ? t.data_ptr<T>() : nullptr; };
  rows::run(rows::AddNorm<T>{x.numel() / norm.width, norm.width, data(x), data(branch), norm.eps, data(norm.weight),
                             data(norm.bias), data(sum), data(out)},
            x.device());
  stream = {sum, {}};
  return out;
}

// Whether one pass can do it: all of one type and without gradients.
bool adds_in_one(const ResidualStream& s, const LayerNorm& norm) {
  const at::ScalarType type = s.x.scalar_type();
  return !at::GradMode::is_enabled() && (type == at::kFloat || type == at::kBFloat16) &&
         s.branch.scalar_type() == type && s.branch.sizes() == s.x.sizes() &&
         (!norm.weight.defined() || norm.weight.scalar_type() == type) && rows::adds_norms(s.x.device(), norm.width);
}

}  // namespace

Tensor LayerNorm::operator()(ResidualStream& s) const {
  if (!s.branch.defined()) return (*this)(s.x);
  if (adds_in_one(s, *this))
    return s.x.scalar_type() == at::kFloat ? add_norm<float>(s, *this) : add_norm<c10::BFloat16>(s, *this);
  s = {s.x + s.branch, {}};
  return (*this)(s.x);
}

RmsNorm::RmsNorm(const Scope& scope, int64_t width, double eps)
    : eps(eps), weight(scope.add("weight", {width}, Init::kOnes)) {}

Tensor RmsNorm::operator()(const Tensor& x) const {
  const Tensor wide = x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const Tensor scale = (wide.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return (wide * scale).to(x.scalar_type()) * weight.to(x.scalar_type());
}

namespace {

// Heads as split_heads() leaves them: their channels side by side.
bool lies_by_heads(const Tensor& t, at::ScalarType type) {
  return t.scalar_type() == type && t.stride(3) == 1 && t.stride(1) == t.size(3);
}

template <class T>
Tensor attend_to(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, double scale) {
  const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2), channels = q.size(3), keys = k.size(2);
  const Tensor out = at::empty({batch, queries, heads, channels}, q.options());
  const auto rows = [](const Tensor& t) -> HeadRows<T> { return {t.data_ptr<T>(), t.stride(0), t.stride(2)}; };
  attend(Attention<T>{batch, heads, channels, queries, keys, rows(q), rows(k), rows(v), static_cast<float>(scale),
                      bias.defined() ? bias.data_ptr<float>() : nullptr, keys, out.data_ptr<T>()});
  return out.transpose(1, 2);
}

// Attention in one pass on a CPU, or nothing where it cannot be: (B, heads, N, d).
std::optional<Tensor> attention_in_one(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const std::optional<Tensor>& bias, double scale) {
  const at::ScalarType type = q.scalar_type();
  const bool in_bf16 = type == at::kBFloat16;
  if (at::GradMode::is_enabled() || !q.is_cpu() || !attends(type) || !lies_by_heads(q, type) ||
      !lies_by_heads(k, type) || !lies_by_heads(v, type) || q.numel() == 0 || k.size(2) == 0)
    return std::nullopt;
  if (bias && bias->sizes() != at::IntArrayRef{q.size(0), 1, 1, k.size(2)}) return std::nullopt;
  const Tensor of_keys = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  return in_bf16 ? attend_to<c10::BFloat16>(q, k, v, of_keys, scale) : attend_to<float>(q, k, v, of_keys, scale);
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias,
                 Dropout dropout) {
  if (q.is_cuda() && dropout.rate <= 0)
    if (const auto mixed = fused_attention(q, k, v, bias)) return *mixed;
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  if (dropout.rate <= 0)
    if (const auto mixed = attention_in_one(q, k, v, bias, scale)) return *mixed;
  Tensor scores = at::matmul(q * scale, k.transpose(-2, -1));  // (B, heads, N, M)
  if (bias) scores = scores + *bias;
  return at::matmul(dropout(at::softmax(scores, -1)), v);  // (B, heads, N, d)
}

Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

Tensor merge_heads(const Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)}); }

}  // namespace crescendo
