#include "crescendo/diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// alpha_bar of the training process: betas from the cosine curve, each capped at 0.999.
std::vector<double> cosine_alpha_bar() {
  const auto curve = [](double u) { return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
  std::vector<double> alpha_bar;
  double product = 1.0;
  constexpr auto n = static_cast<double>(kTrainingTimesteps);
  for (int64_t t = 0; t < kTrainingTimesteps; ++t) {
    const double beta = std::min(1 - curve(static_cast<double>(t + 1) / n) / curve(static_cast<double>(t) / n), 0.999);
    alpha_bar.push_back(product *= 1 - beta);
  }
  return alpha_bar;
}

const std::vector<double>& training_alpha_bar() {
  static const std::vector<double> table = cosine_alpha_bar();
  return table;
}

double log_snr_of(double alpha_bar) { return 0.5 * std::log(alpha_bar / (1 - alpha_bar)); }

void check_respacing(int64_t steps, int64_t start, int64_t end) {
  check_usage(start >= 0 && start < kTrainingTimesteps, "the first timestep must be in 0..", kTrainingTimesteps - 1,
              ", got ", start);
  check_usage(end >= 0 && end <= start, "the last timestep must be in 0..", start, ", where the first is, got ", end);
  check_usage(steps >= 1 && steps <= start - end + 1, "diffusion steps must be in 1..", start - end + 1, ", got ",
              steps);
}

}  // namespace

double Schedule::log_snr(int64_t i) const { return log_snr_of(alpha_bar[static_cast<size_t>(i)]); }

Schedule schedule_of(const std::vector<int64_t>& timesteps) {
  check(!timesteps.empty(), "diffusion: a schedule needs at least one step");
  Schedule s;
  double previous = 1.0;
  for (const int64_t t : timesteps) {
    check(t >= 0 && t < kTrainingTimesteps && (s.timesteps.empty() || t > s.timesteps.back()),
          "diffusion: timesteps must increase within 0..", kTrainingTimesteps - 1, ", got ", t);
    const double alpha_bar = training_alpha_bar()[static_cast<size_t>(t)];
    const double beta = 1 - alpha_bar / previous;
    s.timesteps.push_back(t);
    s.beta.push_back(beta);
    s.alpha_bar.push_back(alpha_bar);
    s.alpha_bar_prev.push_back(previous);
    s.min_log_variance.push_back(std::log(beta * (1 - previous) / (1 - alpha_bar)));
    s.max_log_variance.push_back(std::log(beta));
    s.mean_coef_x0.push_back(beta * std::sqrt(previous) / (1 - alpha_bar));
    s.mean_coef_xt.push_back((1 - previous) * std::sqrt(1 - beta) / (1 - alpha_bar));
    previous = alpha_bar;
  }
  // The posterior of the last step has no variance; its logarithm takes the next one's.
  s.min_log_variance[0] = s.steps() > 1 ? s.min_log_variance[1] : s.max_log_variance[0];
  return s;
}

std::vector<int64_t> respaced_timesteps(int64_t steps, int64_t start, int64_t end) {
  check_respacing(steps, start, end);
  if (steps == 1) return {end};
  std::vector<int64_t> timesteps;
  const double stride = static_cast<double>(start - end) / static_cast<double>(steps - 1);
  auto at = static_cast<double>(end);
  for (int64_t i = 0; i < steps; ++i, at += stride) timesteps.push_back(static_cast<int64_t>(std::nearbyint(at)));
  return timesteps;
}

std::vector<int64_t> log_snr_timesteps(int64_t steps, int64_t start, int64_t end) {
  check_respacing(steps, start, end);
  if (steps == 1) return {start};
  const auto log_snr = [](int64_t t) { return log_snr_of(training_alpha_bar()[static_cast<size_t>(t)]); };
  const double low = log_snr(start), high = log_snr(end);
  std::vector<int64_t> timesteps{end};
  int64_t t = end;
  for (int64_t i = 1; i < steps; ++i) {
    const double wanted = high + (low - high) * static_cast<double>(i) / static_cast<double>(steps - 1);
    // log_snr falls with t. Each step lies above the last, and leaves room for those to come.
    ++t;
    while (t < start && std::abs(log_snr(t + 1) - wanted) < std::abs(log_snr(t) - wanted)) ++t;
    t = std::min(t, start - (steps - 1 - i));
    timesteps.push_back(t);
  }
  return timesteps;
}

Schedule respace(int64_t steps) { return schedule_of(respaced_timesteps(steps)); }

const Schedule& training_schedule() {
  static const Schedule schedule = respace(kTrainingTimesteps);
  return schedule;
}

}  // namespace crescendo
