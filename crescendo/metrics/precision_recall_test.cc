#include "crescendo/metrics/precision_recall.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/metrics/normal_rows.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::normal;
using test::usage_error_of;

FeatureMatrix features(const Tensor& rows) { return FeatureMatrix(rows, "some.npy"); }

PrecisionRecallOptions in_blocks(int64_t block) {
  PrecisionRecallOptions options;
  options.block = block;
  return options;
}

TEST(PrecisionRecall, AreWhatWholeMatricesOfDifferencesGive) {
  const Tensor real = normal(1, 150, 8).to(at::kDouble), generated = normal(2, 130, 8).to(at::kDouble) * 0.8 + 0.4;
  const auto distances = [](const Tensor& a, const Tensor& b) {
    return (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(2);
  };
  const auto radii = [&](const Tensor& a) {
    return std::get<0>(distances(a, a).fill_diagonal_(-1).sort(1)).select(1, 3);
  };
  const Tensor d = distances(real, generated);
  const Tensor in_real = d <= radii(real).unsqueeze(1), in_generated = d <= radii(generated);
  const auto whole = [](const Tensor& flags) { return flags.sum().item<int64_t>(); };
  for (const int64_t block : {17, 40, 130, 4096}) {
    const PrecisionRecall got = precision_recall(features(real), features(generated), in_blocks(block));
    EXPECT_EQ(got.precise, whole(in_real.any(0))) << block;
    EXPECT_EQ(got.recalled, whole(in_generated.any(1))) << block;
    EXPECT_EQ(got.covered, whole(in_real.any(1))) << block;
    EXPECT_DOUBLE_EQ(got.density, static_cast<double>(whole(in_real)) / 3 / 130) << block;
    EXPECT_DOUBLE_EQ(got.precision, static_cast<double>(got.precise) / 130);
    EXPECT_DOUBLE_EQ(got.recall, static_cast<double>(got.recalled) / 150);
  }
}

TEST(PrecisionRecall, TellFewKindsFromWrongKinds) {
  const Tensor real = normal(3, 300, 6);
  // One corner of the data, many times: all are right, and most of the data is not reached.
  const PrecisionRecall collapsed = precision_recall(features(real), features(normal(4, 300, 6) * 0.05 + 0.3));
  EXPECT_GT(collapsed.precision, 0.95);
  EXPECT_LT(collapsed.recall, 0.1);
  // Spread over more than the data: much is wrong, and the data is reached.
  const PrecisionRecall spread = precision_recall(features(real), features(normal(5, 300, 6) * 3));
  EXPECT_LT(spread.precision, 0.6);
  EXPECT_GT(spread.recall, 0.9);
  const PrecisionRecall swapped = precision_recall(features(normal(5, 300, 6) * 3), features(real));
  EXPECT_EQ(swapped.precise, spread.recalled);
  EXPECT_EQ(swapped.recalled, spread.precise);
}

TEST(PrecisionRecall, FarFromTheOriginFp32StillTellsDistances) {
  const Tensor real = normal(6, 100, 4), generated = normal(7, 90, 4);
  const PrecisionRecall near = precision_recall(features(real), features(generated));
  const PrecisionRecall far = precision_recall(features(real.to(at::kDouble) + 1000), features(generated + 1000));
  EXPECT_NEAR(static_cast<double>(far.precise), static_cast<double>(near.precise), 1);
  EXPECT_NEAR(static_cast<double>(far.recalled), static_cast<double>(near.recalled), 1);
}

TEST(PrecisionRecall, TwinsHaveBallsOfNothingThatHoldEachOther) {
  const PrecisionRecall twins = precision_recall(features(at::ones({5, 2})), features(at::ones({6, 2})));
  EXPECT_EQ(twins.precise, 6);
  EXPECT_EQ(twins.recalled, 5);
  const PrecisionRecall apart = precision_recall(features(at::ones({5, 2})), features(at::zeros({6, 2})));
  EXPECT_EQ(apart.precise + apart.recalled + apart.covered, 0);
}

TEST(PrecisionRecall, AdmsRoundingGivesWayWhereFp16IsTooSmall) {
  // Norms beyond 65504: all is then as in fp32.
  const FeatureMatrix real = features(normal(8, 60, 4) * 300), generated = features(normal(9, 50, 4) * 300);
  PrecisionRecallOptions options;
  const PrecisionRecall fp32 = precision_recall(real, generated, options);
  options.distance = NeighbourDistance::kAdmFp16;
  const PrecisionRecall fp16 = precision_recall(real, generated, options);
  EXPECT_NEAR(static_cast<double>(fp16.precise), static_cast<double>(fp32.precise), 1);
  EXPECT_NEAR(static_cast<double>(fp16.recalled), static_cast<double>(fp32.recalled), 1);
}

TEST(PrecisionRecall, ByClassAreThoseOfEachClassAlone) {
  const Tensor real = normal(10, 60, 4), generated = normal(11, 50, 4);
  std::vector<int64_t> real_labels, generated_labels, real_of_7, generated_of_7;
  for (int64_t i = 0; i < 60; ++i) real_labels.push_back(i % 2 ? 7 : 3);
  for (int64_t i = 0; i < 50; ++i) generated_labels.push_back(i < 3 ? 3 : i < 47 ? 7 : 9);
  for (int64_t i = 0; i < 60; ++i)
    if (real_labels[static_cast<size_t>(i)] == 7) real_of_7.push_back(i);
  for (int64_t i = 3; i < 47; ++i) generated_of_7.push_back(i);
  const auto classes = precision_recall_by_class(features(real), real_labels, features(generated), generated_labels);
  // Class 3 has three pictures, too few for three neighbours; class 9 has no real ones.
  ASSERT_EQ(classes.size(), 1u);
  EXPECT_EQ(classes[0].class_id, 7);
  const PrecisionRecall alone =
      precision_recall(features(real).subset(real_of_7), features(generated).subset(generated_of_7));
  EXPECT_EQ(classes[0].score.real, 30);
  EXPECT_EQ(classes[0].score.generated, 44);
  EXPECT_EQ(classes[0].score.precise, alone.precise);
  EXPECT_EQ(classes[0].score.recalled, alone.recalled);
}

TEST(PrecisionRecall, SaysWhatIsMissing) {
  const FeatureMatrix some = features(normal(12, 9, 4));
  EXPECT_CONTAINS(usage_error_of([&] { precision_recall(some, features(normal(1, 3, 4))); }),
                  "need at least 4 pictures, got 3");
  EXPECT_CONTAINS(usage_error_of([&] { precision_recall(some, features(normal(1, 9, 5))); }), "cannot be compared");
  const std::vector<int64_t> labels(8, 0);
  EXPECT_CONTAINS(usage_error_of([&] { precision_recall_by_class(some, labels, some, labels); }),
                  "8 labels for 9 pictures");
}

}  // namespace
}  // namespace crescendo
