// Which real pictures lie nearest to a generated one: what shows that a model repeats what it was trained on.
#pragma once

#include <cstdint>
#include <vector>

#include "crescendo/metrics/feature_matrix.h"

namespace crescendo {

// Of rows 0..count - 1 of `of`, the `k` nearest rows of `among` by Euclidean distance, the nearest first. `among` is
// read a block at a time.
std::vector<std::vector<int64_t>> nearest_rows(const FeatureMatrix& of, int64_t count, const FeatureMatrix& among,
                                               int64_t k);

}  // namespace crescendo
