// Layers: the few that FAR, its diffusion head, the tokenizer and the text encoder are made of.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <optional>

#include "crescendo/kernels/cpu/packed_weight.h"
#include "crescendo/nn/params.h"

namespace crescendo {

// Dropout while training; a default-constructed one does nothing. Draws from LibTorch's own generator unless one is
// given.
struct Dropout {
  double rate = 0.0;
  std::optional<at::Generator> generator{};
  Tensor operator()(const Tensor& x) const;
};

struct Linear {
  Linear() = default;
  Linear(const Scope& scope, int64_t in, int64_t out, Init init = Init::kXavierUniform);
  Tensor operator()(const Tensor& x) const;  // (..., in) -> (..., out)
  // For later calls without gradients on a CPU: products as PackedWeight makes them, with the weight and the bias as
  // they are now.
  void prepare(Products how);
  Tensor weight;  // (out, in)
  Tensor bias;    // (out)
  struct Packed;
  std::shared_ptr<const Packed> packed;
};

// The residual stream of a transformer: x, and what the last layer adds to it, which is added with the next norm.
struct ResidualStream {
  Tensor x, branch;  // branch may be undefined
};

// Over the last dimension; without affine where weight is undefined.
struct LayerNorm {
  LayerNorm(int64_t width, double eps) : width(width), eps(eps) {}
  LayerNorm(const Scope& scope, int64_t width, double eps);
  Tensor operator()(const Tensor& x) const;
  // Of the stream, after its branch has been added. Without gradients one pass over memory.
  Tensor operator()(ResidualStream& stream) const;
  int64_t width;
  double eps;
  Tensor weight, bias;  // (width)
};

// x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019), in the type of x; the mean is
// taken in fp32 at least.
struct RmsNorm {
  RmsNorm(const Scope& scope, int64_t width, double eps);
  Tensor operator()(const Tensor& x) const;
  double eps;
  Tensor weight;  // (width)
};

// softmax(q k^T / sqrt(d)) v with q (B, heads, N, d), k and v (B, heads, M, d). `bias` is added to the scores and
// broadcasts to (B, heads, N, M). Lengths of zero are legal. Without gradients one pass where there is one: on a CPU in
// fp32 (kernels/cpu/attention.h), on a GPU LibTorch's own.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& bias, Dropout dropout);

// (B, N, heads * d) -> (B, heads, N, d) and back.
Tensor split_heads(const Tensor& x, int64_t heads);
Tensor merge_heads(const Tensor& x);

}  // namespace crescendo
