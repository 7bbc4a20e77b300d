// The measures against tests/golden/evaluation.json: what a plain statement of the formulas in NumPy and SciPy gives
// (make_evaluation_goldens.py).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/core/json.h"
#include "crescendo/metrics/frechet.h"
#include "crescendo/metrics/inception_score.h"
#include "crescendo/metrics/kernel_distance.h"
#include "crescendo/metrics/numpy_random.h"
#include "crescendo/metrics/precision_recall.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

const Json& golden(const std::string& name) {
  static const Json json = read_json("tests/golden/evaluation.json");
  return json.at(name);
}
double number(const std::string& name, const std::string& key) { return golden(name).at(key).get<double>(); }

// As the script draws.
Tensor drawn(const std::string& name, at::IntArrayRef shape) {
  int64_t phase = 0;
  for (size_t k = 0; k < name.size(); ++k) phase += static_cast<int64_t>(k + 1) * static_cast<unsigned char>(name[k]);
  Tensor out = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < out.numel(); ++i) {
    const auto x = static_cast<double>(i);
    out.data_ptr<float>()[i] = static_cast<float>(std::sin(0.5 * x * x + 1.3 * x + static_cast<double>(phase % 1009)));
  }
  return out;
}
Tensor moved(const std::string& name, at::IntArrayRef shape) { return drawn(name, shape).mul_(0.75).add_(0.5); }

FeatureMatrix real() { return FeatureMatrix(drawn("real", {90, 6})); }
FeatureMatrix generated() { return FeatureMatrix(moved("generated", {70, 6})); }

int64_t weighed(const std::vector<int64_t>& order) {
  int64_t sum = 0;
  for (size_t i = 0; i < order.size(); ++i) sum += static_cast<int64_t>(i + 1) * order[i];
  return sum;
}

TEST(EvaluationGolden, PermutationsAreNumpys) {
  const Json& expected = golden("permutations");
  EXPECT_EQ(Json(NumpyRandom(2020).permutation(7)), expected.at("7"));
  EXPECT_EQ(Json(NumpyRandom(5).permutation(1)), expected.at("1"));
  for (const int64_t n : {1000, 4096, 50000})
    EXPECT_EQ(weighed(NumpyRandom(2020).permutation(n)), expected.at("weighed " + std::to_string(n))) << n;
  NumpyRandom random(7);
  const Json choices = Json::array({random.choice(50, 4), random.choice(9, 9), random.choice(1000, 3)});
  EXPECT_EQ(choices, expected.at("choices"));
}

TEST(EvaluationGolden, MeanAndCovariance) {
  const MeanCovariance got = mean_covariance(real().tensor());
  EXPECT_EQ(got.count, 90);
  const auto mean = golden("moments").at("mean").get<std::vector<double>>();
  EXPECT_LT(relative_l2(got.mean, at::tensor(mean, at::kDouble)), 1e-12);
  std::vector<double> covariance;
  for (const Json& row : golden("moments").at("covariance"))
    for (const Json& value : row) covariance.push_back(value.get<double>());
  EXPECT_LT(relative_l2(got.covariance, at::tensor(covariance, at::kDouble).view({6, 6})), 1e-12);
}

TEST(EvaluationGolden, FrechetDistance) {
  EXPECT_NEAR(frechet_distance(real(), generated()).value, golden("frechet").get<double>(), 1e-9);
  // Fewer pictures than dimensions: exact from the features, and to 1e-6 from statistics.
  const FeatureMatrix few(drawn("few", {7, 12})), few_too(moved("few too", {9, 12}));
  const double expected = golden("frechet.few").get<double>();
  EXPECT_NEAR(frechet_distance(few, few_too).value, expected, 1e-9);
  EXPECT_NEAR(frechet_distance(mean_covariance(few.tensor()), mean_covariance(few_too.tensor())).value, expected, 1e-6);
}

TEST(EvaluationGolden, InceptionScore) {
  const FeatureMatrix logits(drawn("logits", {97, 11}).mul_(4));
  const InceptionScore shuffled = inception_score(logits);
  EXPECT_NEAR(shuffled.mean, number("inception_score", "mean"), 1e-9);
  EXPECT_NEAR(shuffled.deviation, number("inception_score", "deviation"), 1e-9);
  EXPECT_NEAR(inception_score(logits, 1, std::nullopt).mean, number("inception_score", "one split"), 1e-9);
  EXPECT_NEAR(inception_score_in_order(logits, 30).mean, number("inception_score", "parts of 30"), 1e-9);
}

void expect_neighbours(const std::string& name, const PrecisionRecall& got) {
  EXPECT_LE(std::abs(got.precise - golden(name).at("precise").get<int64_t>()), 1) << name;
  EXPECT_LE(std::abs(got.recalled - golden(name).at("recalled").get<int64_t>()), 1) << name;
  EXPECT_LE(std::abs(got.covered - golden(name).at("covered").get<int64_t>()), 1) << name;
  EXPECT_NEAR(got.density, number(name, "density"), 1.01 / static_cast<double>(3 * got.generated)) << name;
}

TEST(EvaluationGolden, PrecisionAndRecall) {
  PrecisionRecallOptions options;
  options.block = 32;
  expect_neighbours("neighbours.fp32", precision_recall(real(), generated(), options));
  options.k = 5;
  expect_neighbours("neighbours.k5", precision_recall(real(), generated(), options));
}

TEST(EvaluationGolden, PrecisionAndRecallInAdmsRounding) {
  const FeatureMatrix wide(drawn("wide", {160, 40}).mul_(24)), wide_too(moved("wide too", {200, 40}).mul_(24));
  PrecisionRecallOptions options;
  options.block = 64;
  expect_neighbours("neighbours.wide", precision_recall(wide, wide_too, options));
  options.distance = NeighbourDistance::kAdmFp16;
  expect_neighbours("neighbours.adm-fp16", precision_recall(wide, wide_too, options));
}

TEST(EvaluationGolden, KernelDistance) {
  const KernelDistance got = kernel_distance(generated(), real(), {.subsets = 5, .subset_size = 40});
  EXPECT_NEAR(got.mean, number("kernel_distance", "mean"), 1e-12);
  EXPECT_NEAR(got.deviation, number("kernel_distance", "deviation"), 1e-12);
  ASSERT_EQ(got.of_subsets.size(), 5u);
  EXPECT_NEAR(got.of_subsets[0], number("kernel_distance", "first"), 1e-12);
}

}  // namespace
}  // namespace crescendo
