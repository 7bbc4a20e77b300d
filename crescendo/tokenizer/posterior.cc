#include "crescendo/tokenizer/posterior.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"

namespace crescendo {

Tensor posterior_mean(const Tensor& moments) {
  check(moments.dim() == 4 && moments.size(1) % 2 == 0, "moments must be (B, 2C, h, w), got ", moments.sizes());
  return moments.slice(1, 0, moments.size(1) / 2);
}

Tensor posterior_log_variance(const Tensor& moments) {
  check(moments.dim() == 4 && moments.size(1) % 2 == 0, "moments must be (B, 2C, h, w), got ", moments.sizes());
  return moments.slice(1, moments.size(1) / 2).clamp(kMinLogVariance, kMaxLogVariance);
}

Tensor sample_posterior(const Tensor& moments, const Tensor& noise) {
  const Tensor mean = posterior_mean(moments);
  if (!noise.defined()) return mean;
  check(noise.sizes() == mean.sizes(), "posterior noise must be ", mean.sizes(), ", got ", noise.sizes());
  return mean + (posterior_log_variance(moments) * 0.5).exp() * noise;
}

Tensor kl_divergence(const Tensor& moments) {
  const Tensor mean = posterior_mean(moments), log_variance = posterior_log_variance(moments);
  return (mean.square() + log_variance.exp() - 1.0 - log_variance).sum({1, 2, 3}) * 0.5;  // (B)
}

}  // namespace crescendo
