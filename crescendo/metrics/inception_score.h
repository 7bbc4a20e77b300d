// Inception Score (Salimans et al. 2016): logits (N, K) -> exp(mean KL(p(y | x) || p(y))), by splits of the set.
//
// The splits differ where pictures are sorted by class: a split then knows few classes and scores far too low. So two
// protocols stand side by side; papers quote either.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "crescendo/metrics/feature_matrix.h"

namespace crescendo {

struct InceptionScore {
  double mean = 0;
  double deviation = 0;  // of the splits, dividing by their number
  std::vector<double> of_splits{};
};

// torch-fidelity: `splits` parts of a shuffled set (numpy.random.RandomState(shuffle_seed).permutation). Without a seed
// the order stays as it is.
InceptionScore inception_score(const FeatureMatrix& logits, int64_t splits = 10,
                               std::optional<uint32_t> shuffle_seed = 2020);
// ADM's evaluator: parts of `part` pictures in the order in which they stand; the last one may be smaller.
InceptionScore inception_score_in_order(const FeatureMatrix& logits, int64_t part = 5000);

}  // namespace crescendo
