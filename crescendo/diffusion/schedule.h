// The noise schedule: cosine (Nichol and Dhariwal 2021, eq. 17), and its respacing to fewer steps.
//
// Everything is a table in double, indexed by the inner step i = 0 .. T-1 (0 is the least noisy); `timesteps[i]` is the
// original t that the head is told.
#pragma once

#include <cstdint>
#include <vector>

namespace crescendo {

constexpr int64_t kTrainingTimesteps = 1000;

struct Schedule {
  std::vector<int64_t> timesteps;  // (T) original t
  std::vector<double> beta;        // (T)
  std::vector<double> alpha_bar;   // (T) product of 1 - beta
  std::vector<double> alpha_bar_prev;
  std::vector<double> min_log_variance;  // log of the posterior's variance, its first entry clipped to the second
  std::vector<double> max_log_variance;  // log beta
  std::vector<double> mean_coef_x0;      // posterior mean = coef_x0 * x_0 + coef_xt * x_t
  std::vector<double> mean_coef_xt;
  // Half the logarithm of the signal-to-noise ratio at inner step i: log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)).
  double log_snr(int64_t i) const;
  int64_t steps() const { return static_cast<int64_t>(timesteps.size()); }
};

// All kTrainingTimesteps steps.
const Schedule& training_schedule();

// T of the original steps end..start: the stride (start - end) / (T - 1) is added up in double and each sum rounded
// half to even; T = 1 takes `end`. Needs 0 <= end <= start < kTrainingTimesteps and 1 <= T <= start - end + 1.
std::vector<int64_t> respaced_timesteps(int64_t steps, int64_t start = kTrainingTimesteps - 1, int64_t end = 0);
// T of the original steps end..start, evenly spread by log_snr and not by t: few steps are best spent so (Lu et al.
// 2022, section 3). T = 1 takes `start`. Needs what respaced_timesteps needs.
std::vector<int64_t> log_snr_timesteps(int64_t steps, int64_t start, int64_t end = 0);
Schedule respace(int64_t steps);
// The schedule that visits exactly these original timesteps, increasing.
Schedule schedule_of(const std::vector<int64_t>& timesteps);

}  // namespace crescendo
