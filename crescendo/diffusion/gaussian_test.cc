#include "crescendo/diffusion/gaussian.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>  // backward() needs autograd linked in

#include <cmath>
#include <numbers>

#include "tests/support.h"

namespace crescendo {
namespace {

Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

// x_0, noise and x_t of one row per timestep.
struct Rows {
  explicit Rows(const std::vector<int64_t>& timesteps)
      : t(at::tensor(timesteps, at::kLong)),
        x0(noise({t.size(0), 16}, 1)),
        eps(noise({t.size(0), 16}, 2)),
        x_t(q_sample(x0, t, eps)) {}
  Tensor t, x0, eps, x_t;
  // The head's answer: eps off by `error`, and a constant variance fraction.
  DiffusionLoss loss(double error, double fraction) const {
    return diffusion_loss(at::cat({eps + error, at::full_like(eps, fraction)}, 1), x0, x_t, t, eps);
  }
};

TEST(Gaussian, QSampleMixesSignalAndNoise) {
  const Rows rows({0, 1, 500, 998, 999});
  for (int64_t i = 0; i < 5; ++i) {
    const double a = training_schedule().alpha_bar[static_cast<size_t>(rows.t[i].item<int64_t>())];
    EXPECT_LT(test::relative_l2(rows.x_t[i], rows.x0[i] * std::sqrt(a) + rows.eps[i] * std::sqrt(1 - a)), 1e-6);
  }
}

// A table rounded to bf16 would be off by 2e-3.
TEST(Gaussian, TablesAreInFp32WhateverTheLatentIsIn) {
  const Tensor t = at::tensor({0, 300, 700, 999}, at::kLong), eps = noise({4, 16}, 2);
  const Tensor x0 = noise({4, 16}, 1).to(at::kBFloat16);
  EXPECT_LT(test::relative_l2(q_sample(x0, t, eps), q_sample(x0.to(at::kDouble), t, eps)), 1e-6);
}

TEST(Gaussian, MseIsTheMeanOverChannels) {
  const Rows rows({0, 300, 999});
  EXPECT_LT((rows.loss(0, 0).mse).abs().max().item<double>(), 1e-12);
  EXPECT_LT((rows.loss(0.5, 0).mse - 0.25).abs().max().item<double>(), 1e-6);
}

// The bound is a KL divergence in bits: zero where mean and variance are the posterior's, above it elsewhere.
TEST(Gaussian, BoundIsZeroForThePosteriorItself) {
  const Rows rows({1, 10, 500, 999});
  const auto largest = [](const Tensor& v) { return v.abs().max().item<double>(); };
  EXPECT_LT(largest(rows.loss(0, -1).vb), 1e-5);
  EXPECT_GT(rows.loss(0.3, -1).vb.min().item<double>(), 1e-9);
  EXPECT_GT(rows.loss(0, 0).vb.slice(0, 0, 3).min().item<double>(),
            1e-9);  // at t = 999 beta is the posterior's variance
}

// With the mean right, a variance of beta costs (d + exp(-d) - 1) / 2 nats, d being the gap of the log variances.
TEST(Gaussian, BoundOfTheLargestVariance) {
  const Rows rows({1, 10, 100, 500});
  const Tensor vb = rows.loss(0, 1).vb;
  for (int64_t i = 0; i < 4; ++i) {
    const auto t = static_cast<size_t>(rows.t[i].item<int64_t>());
    const double d = training_schedule().max_log_variance[t] - training_schedule().min_log_variance[t];
    const double bits = 0.5 * (d + std::exp(-d) - 1) / std::numbers::ln2;
    EXPECT_NEAR(vb[i].item<double>(), bits, 1e-4 * bits + 1e-6) << "t = " << t;
  }
}

// With the variance right, an error of the mean costs its square over twice the variance.
TEST(Gaussian, BoundOfAWrongMean) {
  const Rows rows({5, 100, 500});
  constexpr double kError = 0.2;
  const Tensor vb = rows.loss(kError, -1).vb;
  for (int64_t i = 0; i < 3; ++i) {
    const auto t = static_cast<size_t>(rows.t[i].item<int64_t>());
    const Schedule& s = training_schedule();
    const double shift = s.mean_coef_x0[t] * std::sqrt(1 / s.alpha_bar[t] - 1) * kError;
    const double bits = shift * shift / (2 * std::exp(s.min_log_variance[t])) / std::numbers::ln2;
    EXPECT_NEAR(vb[i].item<double>(), bits, 2e-3 * bits) << "t = " << t;
  }
}

// At t = 0 the bound is the likelihood of the bin of width 2/255 around x_0. Against the exact error function.
TEST(Gaussian, FirstStepIsTheLikelihoodOfABin) {
  const Tensor x0 = at::tensor({-1.0f, -0.5f, 0.0f, 0.25f, 0.9f, 1.0f}).unsqueeze(0);
  const Tensor t = at::zeros({1}, at::kLong), eps = noise({1, 6}, 3), x_t = q_sample(x0, t, eps);
  const Schedule& s = training_schedule();
  const double sigma = std::exp(0.5 * s.min_log_variance[0]), error = 0.4;
  const Tensor vb = diffusion_loss(at::cat({eps + error, at::full_like(eps, -1.0)}, 1), x0, x_t, t, eps).vb;
  const auto cdf = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
  const double shift = -std::sqrt(1 / s.alpha_bar[0] - 1) * error;  // of the mean
  double bits = 0;
  for (int64_t i = 0; i < 6; ++i) {
    const double x = x0[0][i].item<double>();
    const double above = x > 0.999 ? 1 : cdf((1.0 / 255 - shift) / sigma),
                 below = x < -0.999 ? 0 : cdf((-1.0 / 255 - shift) / sigma);
    bits -= std::log2(above - below) / 6;
  }
  EXPECT_NEAR(vb.item<double>(), bits, 0.005 * bits);  // the tanh formula of the published code is good to that
  EXPECT_GT(bits, 0.1);
}

// The variance learns from the bound alone and eps from the square alone.
TEST(Gaussian, GradientsKeepApart) {
  const Rows rows({0, 1, 400, 999});
  const auto gradient = [&](auto part) {
    const Tensor output = noise({4, 32}, 5).requires_grad_(true);
    part(diffusion_loss(output, rows.x0, rows.x_t, rows.t, rows.eps)).sum().backward();
    return std::pair(output.grad().slice(1, 0, 16), output.grad().slice(1, 16));
  };
  const auto [mse_eps, mse_fraction] = gradient([](const DiffusionLoss& l) { return l.mse; });
  EXPECT_EQ(mse_fraction.abs().max().item<double>(), 0);
  EXPECT_LT(test::relative_l2(mse_eps, (noise({4, 32}, 5).slice(1, 0, 16) - rows.eps) * 2 / 16), 1e-5);
  const auto [vb_eps, vb_fraction] = gradient([](const DiffusionLoss& l) { return l.vb; });
  EXPECT_EQ(vb_eps.abs().max().item<double>(), 0);
  for (int64_t i = 1; i < 4; ++i) EXPECT_GT(vb_fraction[i].abs().max().item<double>(), 0) << i;
}

TEST(Gaussian, StaysFiniteForWildAnswers) {
  const Rows rows({0, 1, 999});
  const Tensor output = at::full({3, 32}, 100.0).requires_grad_(true);
  const DiffusionLoss loss = diffusion_loss(output, rows.x0, rows.x_t, rows.t, rows.eps);
  (loss.mse + loss.vb).sum().backward();
  EXPECT_TRUE(at::isfinite(loss.vb[0]).item<bool>());  // a likelihood of zero is cut off
  EXPECT_TRUE(at::isfinite(output.grad()[0]).all().item<bool>());
}

}  // namespace
}  // namespace crescendo
