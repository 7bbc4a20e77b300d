// How sure an FID is: its spread over draws of as many pictures, and its limit for infinitely many.
#pragma once

#include <cstdint>
#include <vector>

#include "crescendo/metrics/feature_matrix.h"
#include "crescendo/metrics/frechet.h"

namespace crescendo {

struct BootstrapOptions {
  int64_t resamples = 20;
  double confidence = 0.95;
  uint64_t seed = 0;
};

struct FidInterval {
  double value = 0;  // of the set itself
  double deviation = 0;
  double low = 0, high = 0;  // value -+ the normal quantile times deviation
  std::vector<double> of_resamples{};
};

// Resamples the generated pictures with replacement. A resample has repeated pictures and so a higher FID; what is
// taken from the resamples is their spread alone, so that the interval holds FID of N pictures, its bias included.
FidInterval fid_interval(const FeatureMatrix& generated, const FrechetReference& real,
                         const BootstrapOptions& options = {});

struct FidInfinityOptions {
  int64_t points = 15;
  int64_t smallest = 5000;  // pictures of the first point; half of the set where it has fewer than twice as many
  uint64_t seed = 0;
};

// FID of N pictures is its limit plus a part that falls as 1 / N (Chong & Forsyth 2020).
struct FidInfinity {
  double value = 0;  // the line at 1 / N = 0
  double error = 0;  // standard error of that
  double slope = 0;
  std::vector<int64_t> counts{};  // of each point
  std::vector<double> fids{};
};

FidInfinity fid_infinity(const FeatureMatrix& generated, const FrechetReference& real,
                         const FidInfinityOptions& options = {});

}  // namespace crescendo
