// From noise to a token: reverse diffusion, one function per solver, one signature for all.
#pragma once

#include <array>
#include <compare>
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

enum class Solver { kDdpm, kDdim, kDpm2m, kDpm2mSde };
constexpr auto enum_table(Solver) {
  return std::array{EnumName{Solver::kDdpm, "ddpm"}, EnumName{Solver::kDdim, "ddim"},
                    EnumName{Solver::kDpm2m, "dpmpp-2m"}, EnumName{Solver::kDpm2mSde, "dpmpp-2m-sde"}};
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

// DPM-Solver++ 2M (Lu et al. 2022, algorithm 2), deterministic: multistep of order two, one evaluation a step. The last
// evaluation, at the least noisy step, gives the result.
Tensor dpm_2m_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, double temperature);

// SDE-DPM-Solver++ 2M (Lu et al. 2022): the same order and direction, for the reverse process that adds noise after
// each step, scaled by `temperature`. Its first step, and every one of order one, is the posterior of DDPM with the
// least variance.
Tensor dpm_2m_sde_sample(const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
                         double temperature);

Tensor run_solver(Solver solver, const DenoiseFn& denoise, const Schedule& schedule, Tensor x, const StepNoiseFn& noise,
                  double temperature);

// By how much an error in the first eps is multiplied: in the x of the first step (DDPM from t = 999: 316 at T = 100,
// 822 at 40, 4485 at 8), and in the result, where every later eps is the best one for data of unit variance. A solver
// that adds noise forgets errors: in the result DDPM has reduced the 316 to 5, DDIM only to 311.
struct ErrorGain {
  double first_step, result;
};
ErrorGain error_gain(Solver solver, const Schedule& schedule);

// Which of the training timesteps a solver visits.
struct Spacing {
  int64_t steps = 100;  // T
  int64_t start = kTrainingTimesteps - 1;
  int64_t end = 0;  // what the last evaluation, here, says of x_0 is the result
  auto operator<=>(const Spacing&) const = default;
};

// Where a solver starts unless told otherwise: at 999 for DDPM, as published, at 980 for the others. At t = 999 an
// error of the head in eps is multiplied by 316 (T = 100) up to 4485 (T = 8), at 960 by less than one, so a model that
// has not been trained for long should start lower.
int64_t first_timestep(Solver solver);
// The schedule of these timesteps, spread by log_snr for DPM-Solver++ and by t for the others. Three tenths of the span
// of log_snr lie below t = 40, where sigma is 0.075, so an end above 0 spares steps.
Schedule solver_schedule(Solver solver, const Spacing& spacing);

}  // namespace crescendo
