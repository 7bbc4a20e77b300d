#include "crescendo/metrics/frechet.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/metrics/normal_rows.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::normal;
using test::usage_error_of;

MeanCovariance gaussian(const Tensor& mean, const Tensor& covariance) {
  return {100000, mean.to(at::kDouble), covariance.to(at::kDouble)};
}

TEST(FrechetDistance, KnownGaussians) {
  // pytorch-fid's own check: means 0 and 1 under unit covariances are as far as there are dimensions.
  const FrechetDistance apart =
      frechet_distance(gaussian(at::zeros({64}), at::eye(64)), gaussian(at::ones({64}), at::eye(64)));
  EXPECT_NEAR(apart.value, 64, 1e-10);
  EXPECT_NEAR(apart.of_means, 64, 1e-10);
  EXPECT_NEAR(apart.of_covariances, 0, 1e-10);
  EXPECT_EQ(apart.warning, "");
  // Of independent dimensions: the sum of squared differences of the deviations.
  const Tensor a = at::tensor({1.0, 4.0, 9.0, 0.0}), b = at::tensor({4.0, 4.0, 1.0, 0.25});
  EXPECT_NEAR(frechet_distance(gaussian(at::zeros({4}), at::diag(a)), gaussian(at::zeros({4}), at::diag(b))).value,
              1 + 0 + 4 + 0.25, 1e-10);
}

TEST(FrechetDistance, OfASetWithItselfIsNothingAndOfTwoDoesNotAskWhichIsFirst) {
  const MeanCovariance a = mean_covariance(normal(1, 400, 16)), b = mean_covariance(normal(2, 300, 16) * 1.5 + 0.2);
  EXPECT_NEAR(frechet_distance(a, a).value, 0, 1e-9);
  EXPECT_NEAR(frechet_distance(a, b).value, frechet_distance(b, a).value, 1e-9);
  EXPECT_GT(frechet_distance(a, b).value, 1);
  EXPECT_EQ(FrechetReference(a).distance(b).value, frechet_distance(a, b).value);
}

TEST(FrechetDistance, OfFewPicturesIsRightAndSaysSo) {
  const Tensor x = normal(3, 20, 48), y = normal(4, 30, 48) + 0.5;
  const FrechetDistance of_statistics = frechet_distance(mean_covariance(x), mean_covariance(y));
  const FrechetDistance exact = frechet_distance(FeatureMatrix(x), FeatureMatrix(y));
  EXPECT_NEAR(of_statistics.value, exact.value, 1e-5);
  EXPECT_CONTAINS(of_statistics.warning, "a set of 20 and 30 pictures is too small for 48 dimensions");
  EXPECT_EQ(exact.warning, of_statistics.warning);
  // Statistics whose count is unknown cannot be judged.
  MeanCovariance unknown = mean_covariance(x);
  unknown.count = 0;
  EXPECT_EQ(frechet_distance(unknown, unknown).warning, "");
}

TEST(FrechetDistance, BothWaysAgreeWhereBothMayBeTaken) {
  const Tensor x = normal(5, 12, 12), y = normal(6, 40, 12) * 0.7;  // 12 rows span 11 dimensions
  EXPECT_NEAR(frechet_distance(FeatureMatrix(x), FeatureMatrix(y)).value,
              frechet_distance(mean_covariance(x), mean_covariance(y)).value, 1e-6);
}

TEST(FrechetDistance, RefusesOtherDimensions) {
  EXPECT_CONTAINS(usage_error_of([] {
                    frechet_distance(gaussian(at::zeros({4}), at::eye(4)), gaussian(at::zeros({5}), at::eye(5)));
                  }),
                  "dimension 4 cannot be compared with features of dimension 5");
}

}  // namespace
}  // namespace crescendo
