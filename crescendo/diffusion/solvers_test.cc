#include "crescendo/diffusion/solvers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

constexpr std::array kSolvers{Solver::kDdpm, Solver::kDdim, Solver::kDpm2m, Solver::kDpm2mSde};

// A model that knows the answer: eps is what stands between x and x_0.
DenoiseFn knows(const Tensor& x0, const Schedule& s, double fraction = 0) {
  return [=](const Tensor& x, int64_t i) -> Denoised {
    const double a = s.alpha_bar[static_cast<size_t>(i)];
    return {(x - x0 * std::sqrt(a)) / std::sqrt(1 - a), at::full_like(x, fraction)};
  };
}

TEST(Solvers, RecoverTheImageFromAPerfectModel) {
  const Tensor x0 = draw({5, 16}, 1), x_T = draw({5, 16}, 2);
  for (const Solver solver : kSolvers) {
    for (const auto& [steps, end] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 0}, {2, 0}, {8, 0}, {40, 0}, {8, 40}}) {
      const Schedule s = solver_schedule(solver, {steps, first_timestep(solver), end});
      const StepNoiseFn noise = [](int64_t n) { return draw({5, 16}, 100 + static_cast<uint64_t>(n)); };
      EXPECT_LT(relative_l2(run_solver(solver, knows(x0, s), s, x_T, noise, 1.0), x0), 1e-4)
          << enum_name(solver) << " " << steps << " " << end;
    }
  }
}

TEST(Solvers, VisitEveryStepOnceFromTheNoisiest) {
  for (const Solver solver : kSolvers) {
    const Schedule s = solver_schedule(solver, {6, first_timestep(solver)});
    std::vector<int64_t> visited, noises;
    const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
      visited.push_back(i);
      return {x * 0.5, at::zeros_like(x)};
    };
    const StepNoiseFn noise = [&](int64_t n) {
      noises.push_back(n);
      return at::zeros({2, 3});
    };
    run_solver(solver, denoise, s, draw({2, 3}, 1), noise, 1.0);
    EXPECT_EQ(visited, (std::vector<int64_t>{5, 4, 3, 2, 1, 0}));
    // The last step adds none.
    EXPECT_EQ(noises, adds_noise(solver) ? (std::vector<int64_t>{0, 1, 2, 3, 4}) : std::vector<int64_t>{})
        << enum_name(solver);
  }
}

// One ancestral step written out for one number.
TEST(Solvers, DdpmStepIsThePosterior) {
  const Schedule s = schedule_of({0, 400});
  const double x = 0.7, eps = -0.3, v = 0.4, z = 1.1, temperature = 0.6;
  std::vector<double> seen;
  const DenoiseFn denoise = [&](const Tensor& now, int64_t) -> Denoised {
    seen.push_back(now.item<double>());
    return {at::full({1, 1}, eps), at::full({1, 1}, v)};
  };
  ddpm_sample(
      denoise, s, at::full({1, 1}, x),
      [&](int64_t) {
        return at::full({1, 1}, z);
      },
      temperature);
  const double a = s.alpha_bar[1], before = s.alpha_bar[0], beta = 1 - a / before;
  const double x0 = (x - std::sqrt(1 - a) * eps) / std::sqrt(a);
  const double mean = (std::sqrt(before) * beta * x0 + std::sqrt(1 - beta) * (1 - before) * x) / (1 - a);
  const double variance = std::pow(beta * (1 - before) / (1 - a), (1 - v) / 2) * std::pow(beta, (1 + v) / 2);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[1], mean + temperature * std::sqrt(variance) * z, 1e-5);
}

TEST(Solvers, DdimStepKeepsTheNoise) {
  const Schedule s = schedule_of({0, 400});
  std::vector<double> seen;
  const DenoiseFn denoise = [&](const Tensor& now, int64_t) -> Denoised {
    seen.push_back(now.item<double>());
    return {at::full({1, 1}, -0.3), {}};
  };
  ddim_sample(denoise, s, at::full({1, 1}, 0.7), {}, 1.0);
  const double x0 = (0.7 + 0.3 * std::sqrt(1 - s.alpha_bar[1])) / std::sqrt(s.alpha_bar[1]);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[1], std::sqrt(s.alpha_bar[0]) * x0 - 0.3 * std::sqrt(1 - s.alpha_bar[0]), 1e-5);
}

// Data N(1, 0.5^2) has a closed form for eps: E[eps | x] = sqrt(1 - a) (x - sqrt(a) m) / (a s^2 + 1 - a).
DenoiseFn gaussian_data(const Schedule& s) {
  return [&s](const Tensor& x, int64_t i) -> Denoised {
    const double a = s.alpha_bar[static_cast<size_t>(i)];
    return {(x - std::sqrt(a)) * (std::sqrt(1 - a) / (a * 0.25 + 1 - a)), at::full_like(x, -1.0)};
  };
}

TEST(Solvers, DdpmSamplesAKnownGaussian) {
  const Schedule s = solver_schedule(Solver::kDdpm, {200});
  const auto run = [&](double temperature) {
    return ddpm_sample(
        gaussian_data(s), s, draw({20000, 1}, 3),
        [](int64_t n) {
          return draw({20000, 1}, 100 + static_cast<uint64_t>(n));
        },
        temperature);
  };
  const Tensor x = run(1.0);
  EXPECT_NEAR(x.mean().item<double>(), 1.0, 0.015);
  EXPECT_NEAR(x.std().item<double>(), 0.5, 0.02);
  EXPECT_LT(run(0.8).std().item<double>(), 0.47);  // cooler is narrower
}

// The deterministic path of a Gaussian is linear in x_T, so the result is known number by number.
TEST(Solvers, DdimInvertsAKnownGaussian) {
  const Schedule s = solver_schedule(Solver::kDdim, {400, 980});
  const Tensor x_T = draw({50, 1}, 4);
  const double a = s.alpha_bar.back();
  const Tensor expected = 1.0 + (x_T - std::sqrt(a)) * (0.5 / std::sqrt(a * 0.25 + 1 - a));
  EXPECT_LT(relative_l2(ddim_sample(gaussian_data(s), s, x_T, {}, 1.0), expected), 0.01);
}

// How far a deterministic solver ends from where the exact path of that Gaussian ends at t = 0.
double path_error(Solver solver, int64_t steps) {
  const Schedule s = solver_schedule(solver, {steps, 980});
  const Tensor x_T = draw({50, 1}, 4).to(at::kDouble);
  const auto spread = [](double a) { return std::sqrt(a * 0.25 + 1 - a); };
  const double a = s.alpha_bar.back(), end = s.alpha_bar.front();
  const Tensor at_end = std::sqrt(end) + (x_T - std::sqrt(a)) * (spread(end) / spread(a));
  const Tensor expected = (at_end - gaussian_data(s)(at_end, 0).eps * std::sqrt(1 - end)) / std::sqrt(end);
  return relative_l2(run_solver(solver, gaussian_data(s), s, x_T, {}, 1.0), expected);
}

TEST(Solvers, HigherOrderComesCloserInTheSameSteps) {
  EXPECT_LT(path_error(Solver::kDpm2m, 16), 0.2 * path_error(Solver::kDdim, 16));
  // Twice the steps: an error of order n falls by 2^n. Steps of t are whole numbers, so not exactly.
  EXPECT_NEAR(std::log2(path_error(Solver::kDpm2m, 16) / path_error(Solver::kDpm2m, 32)), 2, 0.6);
}

// What a sampler draws from that Gaussian is linear in its noises, so their responses, one a row, give its spread.
double drawn_spread(Solver solver, int64_t steps, double temperature = 1) {
  const Schedule s = solver_schedule(solver, {steps, 980});
  const Tensor impulses = at::eye(steps + 1, at::kDouble);  // the last row has none: the mean
  const Tensor x = run_solver(
      solver, gaussian_data(s), s, impulses.slice(1, 0, 1), [&](int64_t n) { return impulses.slice(1, n + 1, n + 2); },
      temperature);
  return (x - x[steps]).norm().item<double>();
}

TEST(Solvers, NoisyMultistepKeepsTheSpreadInFewSteps) {
  EXPECT_NEAR(drawn_spread(Solver::kDpm2mSde, 200), 0.5, 1e-3);
  const auto error = [](Solver solver, int64_t steps) { return std::abs(drawn_spread(solver, steps) - 0.5); };
  EXPECT_LT(error(Solver::kDpm2mSde, 16), 0.3 * error(Solver::kDdpm, 16));
  EXPECT_GT(std::log2(error(Solver::kDpm2mSde, 32) / error(Solver::kDpm2mSde, 64)), 1.5);  // of order two
  EXPECT_LT(drawn_spread(Solver::kDpm2mSde, 16, 0.8), 0.47);                               // cooler is narrower
}

// One step written out for one number: from t = 400 to 0, where the estimate of x_0 is all that is known.
TEST(Solvers, NoisyMultistepAddsWhatItForgets) {
  const Schedule s = schedule_of({0, 400});
  const double x = 0.7, eps = -0.3, z = 1.1, temperature = 0.6;
  std::vector<double> seen;
  const DenoiseFn denoise = [&](const Tensor& now, int64_t) -> Denoised {
    seen.push_back(now.item<double>());
    return {at::full({1, 1}, eps), {}};
  };
  const StepNoiseFn noise = [&](int64_t) { return at::full({1, 1}, z); };
  dpm_2m_sde_sample(denoise, s, at::full({1, 1}, x), noise, temperature);
  // Of x only what the shorter step of the posterior leaves: q(x_s | x_t, x_0), with its variance.
  const double a = s.alpha_bar[1], before = s.alpha_bar[0], beta = 1 - a / before;
  const double x0 = (x - std::sqrt(1 - a) * eps) / std::sqrt(a);
  const double mean = (std::sqrt(before) * beta * x0 + std::sqrt(1 - beta) * (1 - before) * x) / (1 - a);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[1], mean + temperature * std::sqrt(beta * (1 - before) / (1 - a)) * z, 1e-5);
}

// In fp32 a step is one pass over memory, in fp64 it is taken as it is written.
TEST(Solvers, OnePassIsTheStepAsItIsWritten) {
  for (const Solver solver : kSolvers) {
    const Schedule s = solver_schedule(solver, {8, 980});
    const auto run = [&](at::ScalarType type) {
      const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
        const Tensor both = at::cat({at::sin(x * 3 + static_cast<double>(i)), at::cos(x)}, 1);  // rows lie apart
        return {both.slice(1, 0, 7), both.slice(1, 7)};
      };
      return run_solver(
          solver, denoise, s, draw({3, 7}, 1).to(type),
          [&](int64_t n) {
            return draw({3, 7}, 100 + static_cast<uint64_t>(n)).to(type);
          },
          0.9);
    };
    EXPECT_LT(relative_l2(run(at::kFloat), run(at::kDouble)), 1e-4) << enum_name(solver);
  }
}

TEST(Solvers, TemperatureZeroAddsNothing) {
  const Schedule s = solver_schedule(Solver::kDdpm, {10});
  const auto run = [&](uint64_t seed) {
    return ddpm_sample(
        gaussian_data(s), s, draw({4, 1}, 3),
        [=](int64_t) {
          return draw({4, 1}, seed);
        },
        0.0);
  };
  EXPECT_TRUE(at::equal(run(1), run(2)));
}

// Of the first step posterior_mean_coef1 sqrt(1 / alpha_bar - 1); of the result as computed apart from this program.
TEST(Solvers, ErrorGain) {
  const struct {
    Solver solver;
    int64_t steps, start;
    double first_step, result;
  } expected[] = {{Solver::kDdpm, 100, 999, 316.21, 4.928},  {Solver::kDdpm, 40, 999, 821.97, 33.297},
                  {Solver::kDdpm, 25, 999, 1327.21, 86.81},  {Solver::kDdpm, 4, 998, 319.12, 158.71},
                  {Solver::kDdim, 100, 999, 315.22, 311.37}, {Solver::kDdim, 12, 990, 9.97, 9.021},
                  {Solver::kDpm2m, 4, 999, 157.11, 7698.5},  {Solver::kDpm2m, 12, 980, 1.16, 0.181},
                  {Solver::kDpm2mSde, 8, 999, 31.59, 0.034}, {Solver::kDdim, 2, 980, 33.75, 33.754}};
  for (const auto& e : expected) {
    const ErrorGain gain = error_gain(e.solver, solver_schedule(e.solver, {e.steps, e.start}));
    EXPECT_NEAR(gain.first_step, e.first_step, 1e-3 * e.first_step + 0.005) << enum_name(e.solver) << " " << e.steps;
    EXPECT_NEAR(gain.result, e.result, 1e-3 * e.result + 0.0005) << enum_name(e.solver) << " " << e.steps;
  }
  EXPECT_NEAR(error_gain(Solver::kDdpm, schedule_of({999})).result, 20291.2, 0.1);
  EXPECT_NEAR(error_gain(Solver::kDdpm, respace(8)).first_step, 4484.7, 0.1);
}

TEST(Solvers, SchedulesStartWhereTheSolverWants) {
  EXPECT_EQ(solver_schedule(Solver::kDdpm, {100, first_timestep(Solver::kDdpm)}).timesteps, respaced_timesteps(100));
  for (const int64_t steps : {2, 8, 50, 100}) {
    const Schedule s = solver_schedule(Solver::kDdim, {steps, first_timestep(Solver::kDdim)});
    EXPECT_EQ(s.steps(), steps);
    EXPECT_EQ(s.timesteps.front(), 0);
    EXPECT_EQ(s.timesteps.back(), 980);
  }
  EXPECT_EQ(solver_schedule(Solver::kDdim, {1, 980}).timesteps, std::vector<int64_t>{0});
  EXPECT_EQ(solver_schedule(Solver::kDpm2m, {8, first_timestep(Solver::kDpm2m)}).timesteps, log_snr_timesteps(8, 980));
  EXPECT_EQ(solver_schedule(Solver::kDdpm, {10, 960}).timesteps.back(), 960);
  EXPECT_EQ(solver_schedule(Solver::kDdim, {10, 960, 40}).timesteps, respaced_timesteps(10, 960, 40));
  EXPECT_EQ(solver_schedule(Solver::kDpm2mSde, {10, 980, 40}).timesteps, log_snr_timesteps(10, 980, 40));
  EXPECT_CONTAINS(test::usage_error_of([] {
                    solver_schedule(Solver::kDdpm, {12, 10});
                  }),
                  "diffusion steps must be in 1..11, got 12");
}

}  // namespace
}  // namespace crescendo
