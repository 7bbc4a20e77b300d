#include "crescendo/metrics/evaluation.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/metrics/frechet.h"
#include "crescendo/metrics/inception_score.h"

namespace crescendo {

namespace {

// What a set knows of FID: its statistics, or those of its features.
FeatureStatistics statistics_of(const FeatureSet& set, const std::string& measure) {
  if (set.statistics) return *set.statistics;
  check_usage(set.pool.defined(), measure, " needs statistics or features of ", set.name, ", which has neither");
  FeatureStatistics out;
  out.pool = mean_covariance(set.pool.tensor());
  out.name = set.name;
  return out;
}

const FeatureMatrix& pool_of(const FeatureSet& set, const std::string& measure) {
  check_usage(set.pool.defined(), measure, " needs the pictures or the features of ", set.name,
              "; statistics do not hold them");
  return set.pool;
}

Json count_or_null(int64_t count) { return count > 0 ? Json(count) : Json(); }

class Evaluation {
 public:
  Evaluation(const FeatureSet* real, const FeatureSet& generated, const EvaluationOptions& options)
      : real_(real), generated_(generated), options_(options) {
    report_.generated = generated.name;
    if (real) report_.real = real->name;
    if (generated.statistics) report_.identity = generated.statistics->identity;
    if (!report_.identity.is_object() || !report_.identity.contains("network")) return;
    const std::string network = report_.identity["network"].get<std::string>();
    if (!network.starts_with("inception")) of_network_ = " (" + network + ")";
  }

  EvaluationReport run() && {
    if (options_.fid || options_.sfid || options_.interval || options_.infinity) frechet();
    if (options_.inception_score) inception_scores();
    if (options_.precision_recall || options_.by_class) neighbours();
    if (options_.kid) kernel();
    count("n_fake", generated_.pool.defined() ? generated_.pool.count()
                    : generated_.statistics   ? generated_.statistics->pool.count
                                              : 0);
    return std::move(report_);
  }

 private:
  const FeatureSet& real(const std::string& measure) const {
    check_usage(real_, measure, " compares with real pictures, and none were given");
    return *real_;
  }
  // FID is of Inception's features alone.
  std::string frechet_title() const { return of_network_.empty() ? "FID" : "FD" + of_network_; }
  std::string score_title() const { return of_network_.empty() ? "IS" : "class score" + of_network_; }
  void count(const char* name, int64_t pictures) { report_.counts[name] = count_or_null(pictures); }

  // FID and sFID: the same distance, of other features.
  void frechet() {
    const FeatureStatistics of_real = statistics_of(real("FID"), "FID"),
                            of_generated = statistics_of(generated_, "FID");
    for (std::string& note : check_comparable(of_real, of_generated)) report_.warn(std::move(note));
    count("n_real_stats", of_real.pool.count);
    const FrechetReference reference(of_real.pool);
    if (options_.fid) add("fid", frechet_title(), reference.distance(of_generated.pool));
    if (options_.sfid) {
      for (const FeatureStatistics* s : {&of_real, &of_generated})
        check_usage(s->spatial.has_value(), s->name,
                    ": sFID needs spatial features, `mu_s` and `sigma_s`, which it lacks");
      add("sfid", "s" + frechet_title(), frechet_distance(*of_real.spatial, *of_generated.spatial));
    }
    if (options_.interval) {
      const FidInterval interval =
          fid_interval(pool_of(generated_, "an interval of FID"), reference, options_.bootstrap);
      Measure& fid = measure("fid", frechet_title(), interval.value);
      fid.interval = {interval.low, interval.high};
      fid.details["interval_confidence"] = options_.bootstrap.confidence;
      fid.details["interval_resamples"] = options_.bootstrap.resamples;
      report_.settings["interval_seed"] = options_.bootstrap.seed;
    }
    if (options_.infinity) {
      const FidInfinity limit =
          fid_infinity(pool_of(generated_, "the limit of FID"), reference, options_.extrapolation);
      report_.add({.name = "fid_infinity",
                   .title = frechet_title() + " infinity",
                   .value = limit.value,
                   .how = concat(limit.counts.size(), " sets of ", limit.counts.front(), " to ", limit.counts.back()),
                   .deviation = limit.error,
                   .details = {{"counts", limit.counts}, {"fids", limit.fids}, {"slope", limit.slope}}});
      report_.settings["infinity_seed"] = options_.extrapolation.seed;
    }
  }

  void add(const char* name, const std::string& title, const FrechetDistance& distance) {
    if (!distance.warning.empty()) report_.warn(concat(title, ": ", distance.warning));
    Measure& added = measure(name, title, distance.value);
    added.details["of_means"] = distance.of_means;
    added.details["of_covariances"] = distance.of_covariances;
  }

  Measure& measure(const std::string& name, const std::string& title, double value) {
    for (Measure& m : report_.measures)
      if (m.name == name) return m;
    report_.add({.name = name, .title = title, .value = value, .details = Json::object()});
    return report_.measures.back();
  }

  void inception_scores() {
    const FeatureMatrix& logits = generated_.logits;
    check_usage(logits.defined(), "the Inception Score needs logits of ", generated_.name,
                ": the pictures, or a network that gives class scores");
    const InceptionScore shuffled = inception_score(logits, options_.splits, options_.shuffle_seed);
    const InceptionScore sorted = inception_score_in_order(logits);
    report_.add({.name = "is",
                 .title = score_title(),
                 .value = shuffled.mean,
                 .how = concat(options_.splits, " splits, shuffled"),
                 .deviation = shuffled.deviation,
                 .digits = 3});
    report_.add({.name = "is_sorted",
                 .title = score_title() + ", as they stand",
                 .value = sorted.mean,
                 .how = "parts of 5000 in the order of the pictures",
                 .digits = 3});
    report_.add({.name = "is_1split",
                 .title = score_title() + ", one split",
                 .value = inception_score(logits, 1, std::nullopt).mean,
                 .digits = 3});
    report_.settings["inception_score_splits"] = options_.splits;
    report_.settings["inception_score_seed"] = options_.shuffle_seed;
    count("n_fake_logits", logits.count());
    if (sorted.of_splits.size() > 1 && sorted.mean < 0.9 * shuffled.mean)
      report_.warn(
          "the pictures stand sorted by class: an evaluator that does not shuffle gives the lower Inception Score");
  }

  void neighbours() {
    const FeatureSet& set = real("precision and recall");
    const FeatureMatrix& of_real = pool_of(set, "precision and recall");
    const FeatureMatrix& of_generated = pool_of(generated_, "precision and recall");
    if (set.statistics && generated_.statistics)
      for (std::string& note : check_comparable(*set.statistics, *generated_.statistics)) report_.warn(std::move(note));
    count("n_real_pr", of_real.count());
    report_.settings["neighbours"] = options_.neighbours.k;
    report_.settings["neighbour_distance"] = enum_name(options_.neighbours.distance);
    if (options_.precision_recall) {
      const PrecisionRecall score = precision_recall(of_real, of_generated, options_.neighbours);
      const std::string how = concat("k ", options_.neighbours.k, ", ", enum_name(options_.neighbours.distance));
      report_.add({.name = "precision",
                   .title = "precision",
                   .value = score.precision,
                   .how = how,
                   .details = {{"inside", score.precise}, {"of", score.generated}}});
      report_.add({.name = "recall",
                   .title = "recall",
                   .value = score.recall,
                   .how = how,
                   .details = {{"inside", score.recalled}, {"of", score.real}}});
      report_.add({.name = "f_score", .title = "F score", .value = score.f_score()});
      report_.add({.name = "density", .title = "density", .value = score.density});
      report_.add({.name = "coverage",
                   .title = "coverage",
                   .value = score.coverage,
                   .details = {{"inside", score.covered}, {"of", score.real}}});
    }
    if (options_.by_class) {
      report_.classes =
          precision_recall_by_class(of_real, set.labels, of_generated, generated_.labels, options_.neighbours);
      const auto classes = std::set<int64_t>(generated_.labels.begin(), generated_.labels.end()).size();
      if (report_.classes.size() < classes)
        report_.warn(concat(classes - report_.classes.size(), " of ", classes, " classes have too few pictures for ",
                            options_.neighbours.k, " neighbours and are left out"));
    }
  }

  void kernel() {
    const KernelDistance kid =
        kernel_distance(pool_of(generated_, "KID"), pool_of(real("KID"), "KID"), options_.kernel);
    report_.add({.name = "kid",
                 .title = "KID",
                 .value = kid.mean,
                 .how = concat(options_.kernel.subsets, " subsets of ", options_.kernel.subset_size,
                               "; papers quote 1000 times this"),
                 .deviation = kid.deviation,
                 .digits = 6});
    report_.settings["kid_subsets"] = options_.kernel.subsets;
    report_.settings["kid_subset_size"] = options_.kernel.subset_size;
    report_.settings["kid_seed"] = options_.kernel.seed;
  }

  const FeatureSet* real_;
  const FeatureSet& generated_;
  const EvaluationOptions& options_;
  EvaluationReport report_;
  std::string of_network_;  // " (torchscript)"; empty for Inception and for statistics that do not tell
};

}  // namespace

EvaluationReport evaluate(const FeatureSet* real, const FeatureSet& generated, const EvaluationOptions& options) {
  return Evaluation(real, generated, options).run();
}

}  // namespace crescendo
