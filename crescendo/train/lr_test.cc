#include "crescendo/train/lr.h"

#include <gtest/gtest.h>

#include <cmath>

namespace crescendo {
namespace {

constexpr double kPeak = 4e-4;
constexpr int64_t kTotal = 1100;

double rate(LrShape shape, int64_t images) {
  return learning_rate({.shape = shape, .warmup_images = 100, .end = 0.2}, kPeak, images, kTotal);
}

TEST(LearningRate, RisesFromNearZeroToThePeak) {
  for (const LrShape shape : {LrShape::kConstant, LrShape::kCosine, LrShape::kLinear}) {
    EXPECT_GT(rate(shape, 0), 0);  // the first step moves
    EXPECT_LT(rate(shape, 0), kPeak / 100);
    EXPECT_DOUBLE_EQ(rate(shape, 25), kPeak / 4);
    EXPECT_DOUBLE_EQ(rate(shape, 99), kPeak * 0.99);
    EXPECT_DOUBLE_EQ(rate(shape, 100), kPeak);
  }
}

TEST(LearningRate, FallsAsItsShapeSays) {
  for (const int64_t images : {100, 600, 1100, 5000}) EXPECT_DOUBLE_EQ(rate(LrShape::kConstant, images), kPeak);
  EXPECT_NEAR(rate(LrShape::kLinear, 350), kPeak * (1 - 0.8 / 4), 1e-15);
  EXPECT_NEAR(rate(LrShape::kLinear, 600), kPeak * 0.6, 1e-15);
  EXPECT_NEAR(rate(LrShape::kCosine, 350), kPeak * (0.2 + 0.4 * (1 + std::sqrt(0.5))), 1e-15);
  EXPECT_NEAR(rate(LrShape::kCosine, 600), kPeak * 0.6, 1e-15);
  for (const LrShape shape : {LrShape::kLinear, LrShape::kCosine}) {
    EXPECT_NEAR(rate(shape, kTotal), kPeak * 0.2, 1e-15);
    EXPECT_NEAR(rate(shape, 2 * kTotal), kPeak * 0.2, 1e-15);  // no rise again after the end
  }
}

TEST(LearningRate, WithoutWarmUpItStartsAtThePeak) {
  EXPECT_EQ(learning_rate({.shape = LrShape::kCosine, .warmup_images = 0}, kPeak, 0, kTotal), kPeak);
  // A run that is shorter than its warm-up never gets there.
  EXPECT_DOUBLE_EQ(learning_rate({.warmup_images = 2000}, kPeak, 1000, kTotal), kPeak / 2);
}

}  // namespace
}  // namespace crescendo
