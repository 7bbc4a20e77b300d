#include "crescendo/diffusion/schedule.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/fixture_weights.h"
#include "tests/support.h"

namespace crescendo {
namespace {

TEST(Schedule, IsTheCosine) {
  const Schedule& s = training_schedule();
  ASSERT_EQ(s.steps(), 1000);
  const auto curve = [](double u) { return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
  // As long as no beta is capped, alpha_bar is the curve itself, normalised; the cap bites at the very end only.
  for (size_t t = 0; t < 998; ++t)
    EXPECT_NEAR(s.alpha_bar[t] / (curve(static_cast<double>(t + 1) / 1000) / curve(0)), 1, 1e-9) << t;
  EXPECT_DOUBLE_EQ(s.beta[999], 0.999);
  EXPECT_NEAR(s.alpha_bar[999], 2.4e-9, 0.05e-9);
}

// Facts about q(x_{t-1} | x_t, x_0) that hold for any schedule, from which every table could be rebuilt.
TEST(Schedule, PosteriorIsConsistent) {
  for (const Schedule& s : {training_schedule(), respace(100), respace(8), schedule_of({3, 500, 980})}) {
    double product = 1, previous = 1;
    for (size_t i = 0; i < s.timesteps.size(); ++i) {
      EXPECT_TRUE(s.beta[i] > 0 && s.beta[i] < 1);
      product *= 1 - s.beta[i];
      EXPECT_NEAR(product / s.alpha_bar[i], 1, 1e-9);
      EXPECT_EQ(s.alpha_bar_prev[i], previous);
      EXPECT_EQ(s.alpha_bar[i], training_schedule().alpha_bar[static_cast<size_t>(s.timesteps[i])]);
      // Without noise the posterior's mean walks along x_0 sqrt(alpha_bar).
      EXPECT_NEAR(s.mean_coef_x0[i] + s.mean_coef_xt[i] * std::sqrt(s.alpha_bar[i]), std::sqrt(previous), 1e-9);
      // The noise of x_t that the mean keeps, and the posterior's own, make up the noise of x_{t-1}.
      const double variance = std::exp(s.min_log_variance[i]),
                   kept = std::pow(s.mean_coef_xt[i], 2) * (1 - s.alpha_bar[i]);
      if (i > 0) {
        EXPECT_NEAR(variance + kept, 1 - previous, 1e-9);
      }
      EXPECT_NEAR(std::exp(s.max_log_variance[i]), s.beta[i], 1e-12);
      EXPECT_LE(s.min_log_variance[i], s.max_log_variance[i] + 1e-12);
      previous = s.alpha_bar[i];
    }
    EXPECT_EQ(s.min_log_variance[0], s.min_log_variance[1]);  // its own would be the logarithm of zero
    EXPECT_NEAR(s.mean_coef_x0[0], 1, 1e-12);
    EXPECT_NEAR(s.mean_coef_xt[0], 0, 1e-12);
  }
}

TEST(Schedule, RespacingKeepsBothEnds) {
  EXPECT_EQ(respaced_timesteps(2), (std::vector<int64_t>{0, 999}));
  EXPECT_EQ(respaced_timesteps(3), (std::vector<int64_t>{0, 500, 999}));            // 499.5 to the even 500
  EXPECT_EQ(respaced_timesteps(5), (std::vector<int64_t>{0, 250, 500, 749, 999}));  // 749.25
  for (int64_t steps = 2; steps <= kTrainingTimesteps; ++steps) {
    const auto t = respaced_timesteps(steps);
    ASSERT_EQ(static_cast<int64_t>(t.size()), steps);
    EXPECT_EQ(t.front(), 0);
    EXPECT_EQ(t.back(), 999) << steps;
    for (size_t i = 1; i < t.size(); ++i) ASSERT_LT(t[i - 1], t[i]) << steps;
  }
}

// The stride is added up, not multiplied: the middle, 499.5 exactly, comes out just below itself with 67 and 87 steps
// and as itself with 93, where 46 times the stride would not. The values are what Python's round() gives for the
// published loop.
TEST(Schedule, RespacingAddsUpItsStride) {
  EXPECT_EQ(respaced_timesteps(67)[33], 499);
  EXPECT_EQ(respaced_timesteps(87)[43], 499);
  EXPECT_EQ(respaced_timesteps(93)[46], 500);
  EXPECT_EQ(respaced_timesteps(8), (std::vector<int64_t>{0, 143, 285, 428, 571, 714, 856, 999}));
}

TEST(Schedule, SpreadByLogSnr) {
  for (const int64_t start : {980, 999, 30})
    for (const int64_t steps : {2, 5, 8, 20, 31}) {
      const Schedule s = schedule_of(log_snr_timesteps(steps, start));  // which needs them to increase
      ASSERT_EQ(s.steps(), steps);
      EXPECT_EQ(s.timesteps.front(), 0);
      EXPECT_EQ(s.timesteps.back(), start);
    }
  EXPECT_EQ(log_snr_timesteps(1, 980), std::vector<int64_t>{980});
  EXPECT_EQ(log_snr_timesteps(981, 980).back(), 980);  // all of them
  // Even as far as whole timesteps allow, which is to half a timestep.
  const Schedule s = schedule_of(log_snr_timesteps(12, 980)), all = training_schedule();
  const double stride = (s.log_snr(0) - s.log_snr(11)) / 11;
  for (int64_t i = 2; i < 12; ++i) {
    const int64_t t = s.timesteps[static_cast<size_t>(i)];
    EXPECT_NEAR(s.log_snr(i), s.log_snr(0) - stride * static_cast<double>(i), all.log_snr(t - 1) - all.log_snr(t + 1))
        << i;
  }
  EXPECT_CONTAINS(test::usage_error_of([] { log_snr_timesteps(12, 10); }), "must be in 1..11, got 12");
  // The same between other ends.
  const Schedule between = schedule_of(log_snr_timesteps(9, 980, 40));
  EXPECT_EQ(between.timesteps.front(), 40);
  EXPECT_EQ(between.timesteps.back(), 980);
  const double part = (between.log_snr(0) - between.log_snr(8)) / 8;
  for (int64_t i = 1; i < 9; ++i) EXPECT_NEAR(between.log_snr(i - 1) - between.log_snr(i), part, 0.03) << i;
  EXPECT_EQ(log_snr_timesteps(11, 20, 10), respaced_timesteps(11, 20, 10));  // all of them
}

TEST(Schedule, EndsAboveNoNoise) {
  EXPECT_EQ(respaced_timesteps(3, 100, 10), (std::vector<int64_t>{10, 55, 100}));
  EXPECT_EQ(respaced_timesteps(1, 100, 10), std::vector<int64_t>{10});
  EXPECT_EQ(respaced_timesteps(1, 10, 10), std::vector<int64_t>{10});
  EXPECT_CONTAINS(test::usage_error_of([] { respaced_timesteps(2, 10, 11); }), "must be in 0..10");
  EXPECT_CONTAINS(test::usage_error_of([] { respaced_timesteps(2, 10, -1); }), "must be in 0..10");
  EXPECT_CONTAINS(test::usage_error_of([] { respaced_timesteps(8, 10, 4); }), "must be in 1..7, got 8");
}

TEST(Schedule, OneStepIsTheLeastNoisy) {
  const Schedule s = respace(1);
  EXPECT_EQ(s.timesteps, std::vector<int64_t>{0});
  EXPECT_EQ(s.alpha_bar_prev, std::vector<double>{1});
  EXPECT_TRUE(std::isfinite(s.min_log_variance[0]));
  EXPECT_NEAR(s.mean_coef_x0[0], 1, 1e-12);
}

TEST(Schedule, Errors) {
  EXPECT_CONTAINS(test::usage_error_of([] { respace(0); }), "diffusion steps must be in 1..1000, got 0");
  EXPECT_CONTAINS(test::usage_error_of([] { respace(1001); }), "got 1001");
  EXPECT_CONTAINS(test::error_of([] { schedule_of({}); }), "at least one step");
  EXPECT_CONTAINS(test::error_of([] { schedule_of({5, 5}); }), "must increase");
  EXPECT_CONTAINS(test::error_of([] { schedule_of({-1}); }), "got -1");
  EXPECT_CONTAINS(test::error_of([] { schedule_of({0, 1000}); }), "got 1000");
}

TEST(Schedule, MatchesThePublishedTables) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const TensorMap expected = test::fixture_expected("far_micro");
  const Tensor alpha_bar = expected.at("schedule.alphas_cumprod");
  for (int64_t t = 0; t < 1000; ++t)
    EXPECT_NEAR(training_schedule().alpha_bar[static_cast<size_t>(t)] / alpha_bar.data_ptr<double>()[t], 1, 1e-10) << t;
  for (const int64_t steps : {8, 40, 70, 100, 250}) {
    const Tensor t = expected.at("respacing." + std::to_string(steps));
    EXPECT_EQ(respaced_timesteps(steps), std::vector<int64_t>(t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + steps));
  }
}

}  // namespace
}  // namespace crescendo
