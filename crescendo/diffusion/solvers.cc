#include "crescendo/diffusion/solvers.h"

#include <ATen/ATen.h>

#include <cmath>

#include "crescendo/core/check.h"

namespace crescendo {

Tensor ddpm_sample(const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
                   double temperature) {
  for (int64_t i = s.steps() - 1, n = 0; i >= 0; --i, ++n) {
    const auto k = static_cast<size_t>(i);
    const auto [eps, v] = denoise(x, i);  // (M, C) each
    const Tensor x0 = x * std::sqrt(1 / s.alpha_bar[k]) - eps * std::sqrt(1 / s.alpha_bar[k] - 1);
    const Tensor mean = x0 * s.mean_coef_x0[k] + x * s.mean_coef_xt[k];
    if (i == 0) return mean;
    const Tensor log_variance = s.min_log_variance[k] + (v + 1) / 2 * (s.max_log_variance[k] - s.min_log_variance[k]);
    x = mean + at::exp(0.5 * log_variance) * noise(n) * temperature;
  }
  return x;
}

Tensor ddim_sample(const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn&, double temperature) {
  x = x * temperature;
  for (int64_t i = s.steps() - 1; i >= 0; --i) {
    const auto k = static_cast<size_t>(i);
    const Tensor eps = denoise(x, i).eps;
    const Tensor x0 = (x - eps * std::sqrt(1 - s.alpha_bar[k])) / std::sqrt(s.alpha_bar[k]);
    x = i == 0 ? x0 : x0 * std::sqrt(s.alpha_bar_prev[k]) + eps * std::sqrt(1 - s.alpha_bar_prev[k]);
  }
  return x;
}

Tensor solve(Solver solver, const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
             double temperature) {
  switch (solver) {
    case Solver::kDdpm:
      return ddpm_sample(denoise, s, std::move(x), noise, temperature);
    case Solver::kDdim:
      return ddim_sample(denoise, s, std::move(x), noise, temperature);
  }
  fail("solve: no solver number ", static_cast<int>(solver));
}

Schedule solver_schedule(Solver solver, int64_t steps, int64_t start) {
  constexpr int64_t kTop = kTrainingTimesteps - 1, kDdimStart = 980;
  if (start == 0) start = solver == Solver::kDdim ? kDdimStart : kTop;
  return schedule_of(respaced_timesteps(steps, start));
}

}  // namespace crescendo
