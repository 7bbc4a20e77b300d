#include "crescendo/metrics/fid_uncertainty.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/core/rng.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;

FeatureMatrix normal(uint64_t seed, int64_t rows) {
  Tensor out = at::empty({rows, 6}, at::kFloat);
  Rng(seed, Draw::kOther).fill_normal({out.data_ptr<float>(), static_cast<size_t>(out.numel())});
  return FeatureMatrix(out * 1.1 + 0.2);
}

// What `normal` is drawn from, and a Gaussian at a distance that is known.
FrechetReference itself() {
  return FrechetReference({100000, at::full({6}, 0.2, at::kDouble), at::eye(6, at::kDouble) * 1.21});
}
FrechetReference unit() { return FrechetReference({100000, at::zeros({6}, at::kDouble), at::eye(6, at::kDouble)}); }
constexpr double kOfUnit = 6 * 0.2 * 0.2 + 6 * 0.1 * 0.1;

TEST(FidInterval, IsAsWideAsFidSpreadsOverDraws) {
  const FidInterval interval = fid_interval(normal(1, 500), unit(), {.resamples = 60});
  std::vector<double> fids;
  double mean = 0, squares = 0;
  for (uint64_t seed = 10; seed < 70; ++seed)
    fids.push_back(unit().distance(mean_covariance(normal(seed, 500).tensor())).value);
  for (const double fid : fids) mean += fid / 60;
  for (const double fid : fids) squares += (fid - mean) * (fid - mean) / 59;
  EXPECT_NEAR(interval.deviation / std::sqrt(squares), 1, 0.4);
  EXPECT_NEAR((interval.high - interval.low) / interval.deviation, 2 * 1.959964, 1e-5);
  EXPECT_NEAR((interval.high + interval.low) / 2, interval.value, 1e-12);
  EXPECT_DOUBLE_EQ(interval.value, unit().distance(mean_covariance(normal(1, 500).tensor())).value);
}

TEST(FidInterval, FollowsItsSeed) {
  const FidInterval first = fid_interval(normal(1, 50), unit(), {.resamples = 3, .seed = 5});
  EXPECT_EQ(fid_interval(normal(1, 50), unit(), {.resamples = 3, .seed = 5}).of_resamples, first.of_resamples);
  EXPECT_NE(fid_interval(normal(1, 50), unit(), {.resamples = 3, .seed = 6}).of_resamples, first.of_resamples);
}

TEST(FidInfinity, TakesAwayWhatFewPicturesAdd) {
  const FidInfinityOptions options{.points = 15, .smallest = 100};
  const FidInfinity limit = fid_infinity(normal(1, 2000), itself(), options);
  EXPECT_EQ(limit.counts.front(), 100);
  EXPECT_EQ(limit.counts.back(), 2000);
  EXPECT_GT(limit.slope, 0);
  EXPECT_GT(limit.fids.front(), 0.05);     // the bias of 100 pictures
  EXPECT_LT(std::abs(limit.value), 0.01);  // the truth is 0
  EXPECT_NEAR(fid_infinity(normal(2, 2000), unit(), options).value, kOfUnit, 0.06);
  EXPECT_EQ(fid_infinity(normal(1, 2000), itself(), options).fids, limit.fids);
}

TEST(FidInfinity, OfASmallSetBeginsAtItsHalf) {
  EXPECT_EQ(fid_infinity(normal(1, 60), unit(), {.points = 4}).counts, (std::vector<int64_t>{30, 40, 50, 60}));
  EXPECT_CONTAINS(usage_error_of([] { fid_infinity(normal(1, 3), unit()); }), "sets of 2 pictures or more");
  EXPECT_CONTAINS(usage_error_of([] { fid_infinity(normal(1, 60), unit(), {.points = 2}); }), "at least 3 points");
  EXPECT_CONTAINS(usage_error_of([] { fid_interval(normal(1, 60), unit(), {.resamples = 1}); }),
                  "at least 2 resamples");
}

}  // namespace
}  // namespace crescendo
