#include "crescendo/metrics/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/metrics/frechet.h"
#include "crescendo/metrics/inception_score.h"
#include "crescendo/metrics/normal_rows.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::normal;
using test::usage_error_of;

FeatureSet set_of(uint64_t seed, int64_t rows, const std::string& name, double scale = 1) {
  const Tensor pool = normal(seed, rows, 6) * scale, spatial = normal(seed, rows, 4) * scale;
  FeatureSet set;
  set.statistics = FeatureStatistics{.pool = mean_covariance(pool),
                                     .spatial = mean_covariance(spatial),
                                     .identity = {{"network", "inception-tiny"}, {"preset", "tf"}},
                                     .name = name};
  set.pool = FeatureMatrix(pool, name);
  set.logits = FeatureMatrix(normal(seed + 1, rows, 5) * 3, name);
  for (int64_t i = 0; i < rows; ++i) set.labels.push_back(i % 4);
  set.name = name;
  return set;
}

EvaluationOptions everything() {
  EvaluationOptions options;
  options.sfid = options.precision_recall = options.by_class = options.kid = options.interval = options.infinity = true;
  options.kernel = {.subsets = 4, .subset_size = 30};
  options.bootstrap.resamples = 3;
  return options;
}

TEST(Evaluation, GivesWhatEachMeasureGivesAlone) {
  const FeatureSet real = set_of(1, 120, "real"), generated = set_of(2, 100, "generated", 1.3);
  const EvaluationReport report = evaluate(&real, generated, everything());
  const auto value = [&](const char* name) {
    const Measure* m = report.find(name);
    EXPECT_NE(m, nullptr) << name;
    return m ? m->value : 0;
  };
  EXPECT_DOUBLE_EQ(value("fid"), frechet_distance(real.statistics->pool, generated.statistics->pool).value);
  EXPECT_DOUBLE_EQ(value("sfid"), frechet_distance(*real.statistics->spatial, *generated.statistics->spatial).value);
  EXPECT_EQ(value("is"), inception_score(generated.logits).mean);
  EXPECT_EQ(value("is_sorted"), inception_score_in_order(generated.logits).mean);
  const PrecisionRecall pr = precision_recall(real.pool, generated.pool);
  EXPECT_EQ(value("precision"), pr.precision);
  EXPECT_EQ(value("recall"), pr.recall);
  EXPECT_EQ(value("f_score"), pr.f_score());
  EXPECT_EQ(value("coverage"), pr.coverage);
  // The generated set is drawn first, as torch-fidelity does.
  EXPECT_EQ(value("kid"), kernel_distance(generated.pool, real.pool, {.subsets = 4, .subset_size = 30}).mean);
  ASSERT_TRUE(report.find("fid")->interval.has_value());
  EXPECT_LT(report.find("fid")->interval->first, value("fid"));
  EXPECT_GT(report.find("fid")->interval->second, value("fid"));
  EXPECT_EQ(report.classes.size(), 4u);
  EXPECT_EQ(report.classes[2].score.generated, 25);
  EXPECT_EQ(report.counts, Json({{"n_real_stats", 120}, {"n_fake_logits", 100}, {"n_real_pr", 120}, {"n_fake", 100}}));
  EXPECT_EQ(report.identity, generated.statistics->identity);
  EXPECT_TRUE(report.warnings.empty()) << report.warnings.front();
}

TEST(Evaluation, RefusesWhatIsNotThere) {
  const FeatureSet real = set_of(1, 50, "real.npz"), generated = set_of(2, 50, "generated");
  EvaluationOptions options;
  options.inception_score = false;
  EXPECT_CONTAINS(usage_error_of([&] { evaluate(nullptr, generated, options); }), "FID compares with real pictures");
  FeatureSet bare = real;
  bare.pool = FeatureMatrix();
  options.precision_recall = true;
  EXPECT_CONTAINS(usage_error_of([&] { evaluate(&bare, generated, options); }),
                  "precision and recall needs the pictures or the features of real.npz");
  options.precision_recall = false;
  bare.statistics->spatial.reset();
  options.sfid = true;
  EXPECT_CONTAINS(usage_error_of([&] { evaluate(&bare, generated, options); }),
                  "real.npz: sFID needs spatial features");
  options = {};
  bare.logits = FeatureMatrix();
  EXPECT_CONTAINS(usage_error_of([&] { evaluate(&real, bare, options); }), "needs logits of real.npz");
  FeatureSet other = real;
  other.statistics->identity["preset"] = "clean";
  EXPECT_CONTAINS(usage_error_of([&] { evaluate(&other, generated, options); }), "their preset differs");
}

TEST(Evaluation, NotesWhatAReaderHasToKnow) {
  FeatureSet real = set_of(1, 5, "real.npz"), generated = set_of(2, 5, "generated");
  real.statistics->identity = Json();
  EvaluationOptions options;
  options.inception_score = false;
  const EvaluationReport few = evaluate(&real, generated, options);
  ASSERT_EQ(few.warnings.size(), 2u);
  EXPECT_CONTAINS(few.warnings[0], "real.npz has an unknown identity");
  EXPECT_CONTAINS(few.warnings[1], "FID: a set of 5 and 5 pictures is too small");
  // Sorted by class, and more than one of ADM's parts.
  FeatureSet sorted;
  sorted.logits = FeatureMatrix(at::eye(10).repeat_interleave(1000, 0) * 50);
  sorted.name = "sorted";
  options.fid = false;
  options.inception_score = true;
  const EvaluationReport report = evaluate(nullptr, sorted, options);
  EXPECT_NEAR(report.find("is")->value, 10, 0.1);
  EXPECT_NEAR(report.find("is_sorted")->value, 5, 1e-9);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_CONTAINS(report.warnings[0], "sorted by class");
}

TEST(EvaluationReport, ForPeopleAndForMachines) {
  const FeatureSet real = set_of(1, 120, "real"), generated = set_of(2, 100, "generated");
  EvaluationReport report = evaluate(&real, generated, everything());
  report.version = "0.1.0";
  report.protocol = "imagenet-256";
  report.warn("look here");
  report.warn("look here");
  const Json json = report.to_json();
  EXPECT_EQ(json["format"], "crescendo-evaluation-1");
  EXPECT_EQ(json["measures"]["fid"]["value"], report.find("fid")->value);
  EXPECT_EQ(json["measures"]["fid"]["interval"].size(), 2u);
  EXPECT_EQ(json["measures"]["fid_infinity"]["counts"].size(), 15u);
  EXPECT_EQ(json["settings"]["inception_score_seed"], 2020);
  EXPECT_EQ(json["settings"]["neighbour_distance"], "fp32");
  EXPECT_EQ(json["classes"].size(), 4u);
  EXPECT_EQ(json["identity"]["preset"], "tf");
  EXPECT_EQ(json["warnings"], Json::array({"look here"}));
  EXPECT_EQ(EvaluationReport{}.to_json()["identity"], "unknown");

  const std::string table = report.table();
  EXPECT_TRUE(table.starts_with("FID")) << table;
  for (const char* part :
       {"\nrecall", "\nIS  ", "\nprotocol", "imagenet-256", "n_real_pr 120", "preset tf", "\nnote", "look here\n"})
    EXPECT_CONTAINS(table, part);
  EXPECT_EQ(table.find("look here"), table.rfind("look here"));
  EXPECT_TRUE(report.line().starts_with("FID ")) << report.line();

  const Json fidelity = report.to_fidelity_json();
  for (const char* key :
       {"inception_score_mean", "inception_score_std", "frechet_inception_distance", "kernel_inception_distance_mean",
        "kernel_inception_distance_std", "precision", "recall", "f_score"})
    EXPECT_TRUE(fidelity.contains(key)) << key;
  EXPECT_EQ(fidelity["frechet_inception_distance"], report.find("fid")->value);
  EXPECT_EQ(EvaluationReport{}.to_fidelity_json(), Json::object());
}

TEST(Evaluation, OnlyInceptionsDistanceIsCalledFid) {
  FeatureSet real = set_of(1, 60, "real"), generated = set_of(2, 60, "generated");
  for (FeatureSet* set : {&real, &generated}) set->statistics->identity["network"] = "classifier";
  EvaluationOptions options;
  options.sfid = true;
  const std::string table = evaluate(&real, generated, options).table();
  for (const char* part : {"FD (classifier) ", "sFD (classifier) ", "class score (classifier) "})
    EXPECT_CONTAINS(table, part);
  EXPECT_EQ(table.find("FID"), std::string::npos) << table;
}

}  // namespace
}  // namespace crescendo
