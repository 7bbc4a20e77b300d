#include "crescendo/diffusion/gaussian.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace crescendo {

namespace {

// A per-timestep table looked up at t, as a column: (M, 1), in fp32 at least. In bf16 x_t would be off by 2e-3.
Tensor lookup(const std::vector<double>& table, const Tensor& t, const Tensor& like) {
  const Tensor values =
      at::from_blob(const_cast<double*>(table.data()), {static_cast<int64_t>(table.size())}, at::kDouble);
  return values.index_select(0, t.to(at::kCPU))
      .to(like.device(), at::promote_types(like.scalar_type(), at::kFloat))
      .unsqueeze(1);
}

std::vector<double> map_table(const std::vector<double>& table, double (*f)(double)) {
  std::vector<double> out;
  for (const double v : table) out.push_back(f(v));
  return out;
}

// Standard normal CDF by the tanh approximation of the published code.
Tensor normal_cdf(const Tensor& x) {
  const double c = std::sqrt(2.0 / std::numbers::pi);
  return 0.5 * (1.0 + at::tanh(c * (x + 0.044715 * x * x * x)));
}

// log of the mass that N(mean, exp(log_scale)) gives to the bin of width 2/255 around x (the step at t = 0).
Tensor discretized_log_likelihood(const Tensor& x, const Tensor& mean, const Tensor& log_scale) {
  const Tensor centred = x - mean, inverse_std = at::exp(-log_scale);
  const Tensor cdf_plus = normal_cdf(inverse_std * (centred + 1.0 / 255.0));
  const Tensor cdf_minus = normal_cdf(inverse_std * (centred - 1.0 / 255.0));
  constexpr double kTiny = 1e-12;
  const Tensor inside = at::log((cdf_plus - cdf_minus).clamp_min(kTiny));
  return at::where(x < -0.999, at::log(cdf_plus.clamp_min(kTiny)),
                   at::where(x > 0.999, at::log((1.0 - cdf_minus).clamp_min(kTiny)), inside));
}

}  // namespace

Tensor q_sample(const Tensor& x0, const Tensor& t, const Tensor& noise) {
  const Schedule& s = training_schedule();
  static const auto signal = map_table(s.alpha_bar, [](double a) { return std::sqrt(a); });
  static const auto sigma = map_table(s.alpha_bar, [](double a) { return std::sqrt(1 - a); });
  return lookup(signal, t, x0) * x0 + lookup(sigma, t, x0) * noise;
}

DiffusionLoss diffusion_loss(const Tensor& output, const Tensor& x0, const Tensor& x_t, const Tensor& t,
                             const Tensor& noise) {
  const Schedule& s = training_schedule();
  static const auto inverse_signal = map_table(s.alpha_bar, [](double a) { return std::sqrt(1 / a); });
  static const auto inverse_ratio = map_table(s.alpha_bar, [](double a) { return std::sqrt(1 / a - 1); });

  const auto halves = output.chunk(2, /*dim=*/1);
  const Tensor& eps = halves[0];       // (M, C)
  const Tensor& fraction = halves[1];  // (M, C) in [-1, 1]
  const Tensor mse = at::mean((eps - noise).square(), {1});

  const Tensor min_log = lookup(s.min_log_variance, t, x0), max_log = lookup(s.max_log_variance, t, x0);
  const Tensor log_variance = min_log + (fraction + 1) / 2 * (max_log - min_log);
  const Tensor c0 = lookup(s.mean_coef_x0, t, x0), ct = lookup(s.mean_coef_xt, t, x0);
  const Tensor predicted_x0 = lookup(inverse_signal, t, x0) * x_t - lookup(inverse_ratio, t, x0) * eps.detach();
  const Tensor mean = c0 * predicted_x0 + ct * x_t;
  const Tensor true_mean = c0 * x0 + ct * x_t;

  const Tensor kl = 0.5 * (-1.0 + log_variance - min_log + at::exp(min_log - log_variance) +
                           (true_mean - mean).square() * at::exp(-log_variance));
  const Tensor nll = -discretized_log_likelihood(x0, mean, 0.5 * log_variance);
  const Tensor vb = at::mean(at::where((t == 0).to(nll.device()).unsqueeze(1), nll, kl), {1}) / std::numbers::ln2;
  return {mse, vb};
}

}  // namespace crescendo
