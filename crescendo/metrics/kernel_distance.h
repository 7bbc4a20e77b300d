// Kernel Inception Distance (Binkowski et al. 2018): unbiased squared MMD with the kernel (x . y / D + 1)^3, its mean
// over random subsets. Subsets and seeds are torch-fidelity's.
#pragma once

#include <cstdint>
#include <vector>

#include "crescendo/metrics/feature_matrix.h"

namespace crescendo {

struct KernelDistanceOptions {
  int64_t subsets = 100;
  int64_t subset_size = 1000;  // at most the smaller set's size
  uint32_t seed = 2020;        // of numpy.random.RandomState
};

struct KernelDistance {
  double mean = 0;       // papers quote it times 1000
  double deviation = 0;  // of the subsets, dividing by their number
  std::vector<double> of_subsets{};
};

// `first` is drawn before `second` in each subset: torch-fidelity gets the generated set first.
KernelDistance kernel_distance(const FeatureMatrix& first, const FeatureMatrix& second,
                               const KernelDistanceOptions& options = {});

}  // namespace crescendo
