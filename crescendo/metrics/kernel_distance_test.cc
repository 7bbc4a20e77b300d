#include "crescendo/metrics/kernel_distance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/rng.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;

FeatureMatrix normal(uint64_t seed, int64_t rows, double shift = 0) {
  Tensor out = at::empty({rows, 4}, at::kFloat);
  Rng(seed, Draw::kOther).fill_normal({out.data_ptr<float>(), static_cast<size_t>(out.numel())});
  return FeatureMatrix(out + shift);
}

TEST(KernelDistance, IsUnbiasedAndGrowsWithTheDifference) {
  const KernelDistanceOptions options{.subsets = 50, .subset_size = 60};
  const KernelDistance same = kernel_distance(normal(1, 400), normal(2, 400), options);
  EXPECT_NEAR(same.mean, 0, 0.02);
  EXPECT_LT(*std::min_element(same.of_subsets.begin(), same.of_subsets.end()), 0);  // what a biased one never is
  EXPECT_GT(kernel_distance(normal(1, 400), normal(2, 400, 0.5), options).mean, 0.1);
}

TEST(KernelDistance, FollowsItsSeed) {
  KernelDistanceOptions options{.subsets = 3, .subset_size = 20};
  const KernelDistance first = kernel_distance(normal(1, 80), normal(2, 90), options);
  EXPECT_EQ(kernel_distance(normal(1, 80), normal(2, 90), options).of_subsets, first.of_subsets);
  options.seed = 1;
  EXPECT_NE(kernel_distance(normal(1, 80), normal(2, 90), options).of_subsets, first.of_subsets);
}

TEST(KernelDistance, RefusesSubsetsLargerThanASet) {
  EXPECT_CONTAINS(usage_error_of([] { kernel_distance(normal(1, 80), normal(2, 90)); }), "80 at most");
}

}  // namespace
}  // namespace crescendo
