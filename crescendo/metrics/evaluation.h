// Features of two sets of pictures -> all measures that they allow.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/metrics/feature_matrix.h"
#include "crescendo/metrics/fid_uncertainty.h"
#include "crescendo/metrics/kernel_distance.h"
#include "crescendo/metrics/precision_recall.h"
#include "crescendo/metrics/report.h"
#include "crescendo/metrics/statistics_file.h"

namespace crescendo {

// What is known of a set of pictures. A measure that needs what is absent is a usage error where it was asked for.
struct FeatureSet {
  std::optional<FeatureStatistics> statistics{};  // FID, sFID
  FeatureMatrix pool{};                           // precision and recall, KID, intervals
  FeatureMatrix logits{};                         // Inception Score
  std::vector<int64_t> labels{};                  // of the rows of `pool`: precision and recall by class
  std::string name{};                             // folder or file
};

struct EvaluationOptions {
  bool fid = true, sfid = false, inception_score = true, precision_recall = false, by_class = false, kid = false;
  bool interval = false, infinity = false;  // of FID
  PrecisionRecallOptions neighbours{};
  KernelDistanceOptions kernel{};
  BootstrapOptions bootstrap{};
  FidInfinityOptions extrapolation{};
  int64_t splits = 10;           // of the Inception Score
  uint32_t shuffle_seed = 2020;  // of its order
};

// Fills measures, classes, counts, identity and seeds of a report; the caller adds version, protocol and what else the
// numbers depend on. `real` may be null where only the Inception Score is asked for.
EvaluationReport evaluate(const FeatureSet* real, const FeatureSet& generated, const EvaluationOptions& options);

}  // namespace crescendo
