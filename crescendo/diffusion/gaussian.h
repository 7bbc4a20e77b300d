// Gaussian diffusion of one token: q(x_t | x_0), the learned variance, and the training loss (paper, eq. 1).
//
// As in improved diffusion (Nichol and Dhariwal 2021): the head predicts eps and a fraction v that interpolates the log
// variance between the posterior's and beta; loss = mean square of eps + variational bound in bits for v, eps detached.
#pragma once

#include "crescendo/core/tensor.h"
#include "crescendo/diffusion/schedule.h"

namespace crescendo {

// x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, with t (M) int64 and x_0, noise (M, C).
Tensor q_sample(const Tensor& x0, const Tensor& t, const Tensor& noise);

struct DiffusionLoss {
  Tensor mse;  // (M) mean over channels of (eps - noise)^2
  Tensor vb;   // (M) bits per channel; its gradient reaches the variance only
};

// `output` (M, 2C) is the head's output for q_sample(x0, t, noise).
DiffusionLoss diffusion_loss(const Tensor& output, const Tensor& x0, const Tensor& x_t, const Tensor& t,
                             const Tensor& noise);

}  // namespace crescendo
