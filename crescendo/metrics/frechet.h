// Frechet distance of two Gaussians (Heusel et al. 2017), from their means and covariances:
//   |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).
//
// On pooled features it is FID, on features that keep places sFID (Nash et al. 2021). The trace is taken from symmetric
// eigenvalues: with S1 = B B^T, the eigenvalues of S1 S2 are those of B^T S2 B. So nothing becomes complex, and sets
// smaller than the dimension have their right value.
#pragma once

#include <string>

#include "crescendo/metrics/feature_matrix.h"
#include "crescendo/metrics/moments.h"

namespace crescendo {

struct FrechetDistance {
  double value = 0;     // may be some 1e-7 below 0 for equal sets
  double of_means = 0;  // |m1 - m2|^2
  double of_covariances = 0;
  std::string warning{};  // where a covariance has not full rank; empty where all is well
};

// The root of one covariance, kept to compare many others with it.
class FrechetReference {
 public:
  explicit FrechetReference(MeanCovariance reference);
  FrechetDistance distance(const MeanCovariance& other) const;
  int64_t dim() const { return reference_.dim(); }

 private:
  MeanCovariance reference_;
  Tensor root_;  // (D, D): B
  double trace_ = 0;
};

FrechetDistance frechet_distance(const MeanCovariance& a, const MeanCovariance& b);
// From the features themselves: exact and fast for few rows, where the trace is the sum of the singular values of the
// centred rows' products (N1, N2).
FrechetDistance frechet_distance(const FeatureMatrix& a, const FeatureMatrix& b);

}  // namespace crescendo
