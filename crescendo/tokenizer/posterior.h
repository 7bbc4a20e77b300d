// The Gaussian that an encoder gives for an image, as moments (B, 2C, h, w): its mean and log-variance.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

// The log-variance is clamped to this range wherever it is used.
inline constexpr double kMinLogVariance = -30.0, kMaxLogVariance = 20.0;

// Halves of moments (B, 2C, h, w), the log-variance clamped.
Tensor posterior_mean(const Tensor& moments);          // (B, C, h, w)
Tensor posterior_log_variance(const Tensor& moments);  // (B, C, h, w)
// mean + std * noise, with noise (B, C, h, w); the mean where noise is undefined.
Tensor sample_posterior(const Tensor& moments, const Tensor& noise = {});
// KL(q || N(0, 1)) of each image in nats: (B).
Tensor kl_divergence(const Tensor& moments);

}  // namespace crescendo
