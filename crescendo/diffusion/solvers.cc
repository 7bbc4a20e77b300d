#include "crescendo/diffusion/solvers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

namespace {

// One step of ancestral sampling, an operation of LibTorch at a time.
Tensor ancestral_step(const Denoised& d, const Schedule& s, size_t k, const Tensor& x, const Tensor& noise,
                      double temperature) {
  const Tensor x0 = x * std::sqrt(1 / s.alpha_bar[k]) - d.eps * std::sqrt(1 / s.alpha_bar[k] - 1);
  const Tensor mean = x0 * s.mean_coef_x0[k] + x * s.mean_coef_xt[k];
  if (!noise.defined()) return mean;
  const Tensor log_variance =
      s.min_log_variance[k] + (d.variance_fraction + 1) / 2 * (s.max_log_variance[k] - s.min_log_variance[k]);
  return mean + at::exp(0.5 * log_variance) * noise * temperature;
}

// The same in one pass over memory.
Tensor fused_ancestral_step(const Denoised& d, const Schedule& s, size_t k, const Tensor& x, const Tensor& noise,
                            double temperature) {
  const auto f = [](double v) { return static_cast<float>(v); };
  const Tensor from = x.contiguous(), added = noise.defined() ? noise.contiguous() : Tensor(),
               out = at::empty_like(from);
  rows::run(rows::AncestralStep{x.size(0), x.size(1), from.data_ptr<float>(), d.eps.data_ptr<float>(), d.eps.stride(0),
                                d.variance_fraction.data_ptr<float>(), d.variance_fraction.stride(0),
                                added.defined() ? added.data_ptr<float>() : nullptr, f(std::sqrt(1 / s.alpha_bar[k])),
                                f(std::sqrt(1 / s.alpha_bar[k] - 1)), f(s.mean_coef_x0[k]), f(s.mean_coef_xt[k]),
                                f(s.min_log_variance[k]), f(s.max_log_variance[k] - s.min_log_variance[k]),
                                f(temperature), out.data_ptr<float>()},
            x.device());
  return out;
}

// Whether the passes (kernels/row_passes) can do a step from x on.
bool can_be_fused(const Tensor& t, const Tensor& x) {
  return t.dim() == 2 && t.scalar_type() == at::kFloat && t.sizes() == x.sizes() && t.stride(1) == 1;
}
template <class... T>
bool can_be_fused_from(const Tensor& x, const T&... others) {
  return rows::serves(x.device()) && can_be_fused(x.contiguous(), x) && (can_be_fused(others, x) && ...);
}

}  // namespace

Tensor ddpm_sample(const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
                   double temperature) {
  for (int64_t i = s.steps() - 1, n = 0; i >= 0; --i, ++n) {
    const auto k = static_cast<size_t>(i);
    const Denoised d = denoise(x, i);
    const bool fused = can_be_fused_from(x, d.eps, d.variance_fraction);
    x = (fused ? fused_ancestral_step : ancestral_step)(d, s, k, x, i > 0 ? noise(n) : Tensor(), temperature);
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

namespace {

// What DPM-Solver++ needs to know of a schedule: at inner step i the signal's and the noise's scale.
struct Scales {
  const Schedule& s;
  double alpha(int64_t i) const { return std::sqrt(s.alpha_bar[static_cast<size_t>(i)]); }
  double sigma(int64_t i) const { return std::sqrt(1 - s.alpha_bar[static_cast<size_t>(i)]); }
  Tensor predicted_x0(const DenoiseFn& denoise, const Tensor& x, int64_t i) const {
    return (x - denoise(x, i).eps * sigma(i)) / alpha(i);
  }
};

// One step of DPM-Solver++ 2M: x_0 = x_to_x0 x - eps_to_x0 eps is estimated, and the next x is a sum of x, that
// estimate, the one of the step before, and noise.
struct Multistep {
  double x_to_x0, eps_to_x0, of_x, of_x0, of_before, of_noise;
};

// The step from i to i - 1, the first of all where `first`; `noisy` that of the process that adds noise. With h the
// step in log SNR the direction is x_0 + (x_0 - before) / 2r, r being the length of the step before over that of this
// one.
Multistep multistep(const Scales& scales, int64_t i, bool first, bool noisy, double temperature) {
  const Schedule& s = scales.s;
  const double h = s.log_snr(i - 1) - s.log_snr(i);
  const double slope = first ? 0 : h / (2 * (s.log_snr(i) - s.log_snr(i + 1)));
  const double of_direction = -scales.alpha(i - 1) * std::expm1(noisy ? -2 * h : -h);
  return {1 / scales.alpha(i),
          scales.sigma(i) / scales.alpha(i),
          scales.sigma(i - 1) / scales.sigma(i) * (noisy ? std::exp(-h) : 1),
          of_direction * (1 + slope),
          -of_direction * slope,
          noisy ? scales.sigma(i - 1) * std::sqrt(-std::expm1(-2 * h)) * temperature : 0};
}

// Makes x the next one, and `before`, undefined at first, the estimate of x_0.
void take(const Multistep& m, const Tensor& eps, const Tensor& noise, Tensor& x, Tensor& before) {
  const Tensor x0 = x * m.x_to_x0 - eps * m.eps_to_x0;
  x = x * m.of_x + x0 * m.of_x0;
  if (before.defined()) x = x + before * m.of_before;
  if (noise.defined()) x = x + noise * m.of_noise;
  before = x0;
}

// The same in one pass over memory.
void take_fused(const Multistep& m, const Tensor& eps, const Tensor& noise, Tensor& x, Tensor& before) {
  const auto f = [](double v) { return static_cast<float>(v); };
  const Tensor from = x.contiguous(), added = noise.defined() ? noise.contiguous() : Tensor();
  const float* had = before.defined() ? before.data_ptr<float>() : nullptr;
  if (!before.defined()) before = at::empty_like(from);
  x = at::empty_like(from);
  rows::run(
      rows::MultistepStep{x.size(0), x.size(1), from.data_ptr<float>(), eps.data_ptr<float>(), eps.stride(0), had,
                          added.defined() ? added.data_ptr<float>() : nullptr, f(m.x_to_x0), f(m.eps_to_x0), f(m.of_x),
                          f(m.of_x0), f(m.of_before), f(m.of_noise), before.data_ptr<float>(), x.data_ptr<float>()},
      x.device());
}

// Without noise where `noise` is empty.
Tensor multistep_of_order_two(const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
                              double temperature) {
  const Scales scales{s};
  Tensor before;  // the estimate of x_0 one step earlier
  for (int64_t i = s.steps() - 1, n = 0; i > 0; --i, ++n) {
    const Multistep m = multistep(scales, i, !before.defined(), static_cast<bool>(noise), temperature);
    const Tensor eps = denoise(x, i).eps;
    (can_be_fused_from(x, eps) ? take_fused : take)(m, eps, noise ? noise(n) : Tensor(), x, before);
  }
  return scales.predicted_x0(denoise, x, 0);
}

}  // namespace

Tensor dpm_2m_sample(const DenoiseFn& denoise, const Schedule& s, Tensor x, double temperature) {
  return multistep_of_order_two(denoise, s, x * temperature, {}, 1);
}

Tensor dpm_2m_sde_sample(const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
                         double temperature) {
  return multistep_of_order_two(denoise, s, std::move(x), noise, temperature);
}

Tensor run_solver(Solver solver, const DenoiseFn& denoise, const Schedule& s, Tensor x, const StepNoiseFn& noise,
                  double temperature) {
  switch (solver) {
    case Solver::kDdpm:
      return ddpm_sample(denoise, s, std::move(x), noise, temperature);
    case Solver::kDdim:
      return ddim_sample(denoise, s, std::move(x), noise, temperature);
    case Solver::kDpm2m:
      return dpm_2m_sample(denoise, s, std::move(x), temperature);
    case Solver::kDpm2mSde:
      return dpm_2m_sde_sample(denoise, s, std::move(x), noise, temperature);
  }
  fail("run_solver: no solver number ", static_cast<int>(solver));
}

ErrorGain error_gain(Solver solver, const Schedule& s) {
  const Tensor zero = at::zeros({1, 1}, at::kDouble);  // everything is linear in the error
  const int64_t noisiest = s.steps() - 1;
  Tensor first_step;
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    if (i == noisiest) return {at::ones_like(zero), zero};
    if (!first_step.defined()) first_step = x;
    return {x * std::sqrt(1 - s.alpha_bar[static_cast<size_t>(i)]), zero};
  };
  const StepNoiseFn no_noise = [&](int64_t) { return zero; };
  const Tensor result = run_solver(solver, denoise, s, zero, no_noise, /*temperature=*/1);
  const auto size = [](const Tensor& x) { return std::abs(x.item<double>()); };
  return {size(first_step.defined() ? first_step : result), size(result)};
}

int64_t first_timestep(Solver solver) { return solver == Solver::kDdpm ? kTrainingTimesteps - 1 : 980; }

Schedule solver_schedule(Solver solver, const Spacing& spacing) {
  const auto& [steps, start, end] = spacing;
  const bool by_log_snr = solver != Solver::kDdpm && solver != Solver::kDdim;
  return schedule_of(by_log_snr ? log_snr_timesteps(steps, start, end) : respaced_timesteps(steps, start, end));
}

}  // namespace crescendo
