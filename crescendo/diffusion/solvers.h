// From noise to a token: reverse diffusion, one function per solver, one signature for all.
#pragma once

#include <array>
#include <functional>

#include "crescendo/core/enums.h"
#include "crescendo/core/tensor.h"
#include "crescendo/diffusion/schedule.h"

namespace crescendo {

// eps and variance fraction, guidance included, at inner step i of the schedule: each (M, C) float.
struct Denoised {
  Tensor eps;
  Tensor variance_fraction;
};
using DenoiseFn = std::function<Denoised(const Tensor& x, int64_t i)>;
// Noise added after the n-th evaluation, n = 0 at the noisiest step: (M, C).
using StepNoiseFn = std::function<Tensor(int64_t n)>;

enum class Solver { kDdpm, kDdim, kDpm2m, kDpm2mSde, kDpm3s };
constexpr auto enum_table(Solver) {
  return std::array{EnumName{Solver::kDdpm, "ddpm"}, EnumName{Solver::kDdim, "ddim"},
                    EnumName{Solver::kDpm2m, "dpmpp-2m"}, EnumName{Solver::kDpm2mSde, "dpmpp-2m-sde"},
                    EnumName{Solver::kDpm3s, "dpmpp-3s"}};
}
// Whether noise is added between evaluations; the others take none.
constexpr bool adds_noise(Solver solver) { return solver == Solver::kDdpm || solver == Solver::kDpm2mSde; }

// Ancestral sampling with the learned variance (Nichol and Dhariwal 2021); `temperature` scales the noise of each step.
Tensor ddpm_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
                   double temperature);

// Deterministic (Song et al. 2021, eq. 12 with sigma = 0); takes no noise. Its first x_0 estimate divides by
// sqrt(alpha_bar) = 5e-5 at t = 999, so the schedule should start lower: see solver_schedule.
Tensor ddim_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
                   double temperature);

// DPM-Solver++ (Lu et al. 2022), deterministic, one evaluation a step whatever the order: 2M is multistep of order two
// (algorithm 2), 3S single-step of order three (two evaluations between, and two or one where three are not left). The
// last evaluation, at the least noisy step, gives the result.
Tensor dpm_2m_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, double temperature);
Tensor dpm_3s_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, double temperature);

// SDE-DPM-Solver++ 2M (Lu et al. 2022): the same order and direction, for the reverse process that adds noise after
// each step, scaled by `temperature`. Its first step, and every one of order one, is the posterior of DDPM with the
// least variance.
Tensor dpm_2m_sde_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
                         double temperature);

Tensor solve(Solver solver, const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
             double temperature);

// By how much an error in the first eps is multiplied: in the x that the first step makes (by ddpm from t = 999 316 at
// T = 100, 822 at 40, 4485 at 8), and in the result, where every later eps is the best one for data of unit variance.
// Noise that is added makes a solver forget: of the 316 ddpm leaves 5, ddim 311.
struct ErrorGain {
  double first_step, result;
};
ErrorGain error_gain(Solver solver, const Schedule& schedule);

// The respacing of a solver: `steps` timesteps from `end` to `start`, spread by log_snr for DPM-Solver++. A start of 0
// is the solver's own: 999 for DDPM, as published, 980 for the others. At t = 999 an error of the head in eps is
// multiplied by 316 (T = 100) up to 4485 (T = 8), at 960 by less than one, so a model that has not been trained for
// long should start lower. What the last evaluation says of x_0 is the result, so an end above 0 spares the steps
// where little noise is left: three tenths of the span of log_snr lie below t = 40, where sigma is 0.075.
Schedule solver_schedule(Solver solver, int64_t steps, int64_t start = 0, int64_t end = 0);

}  // namespace crescendo
