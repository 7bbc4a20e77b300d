#include "crescendo/metrics/kernel_distance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/metrics/numpy_random.h"

namespace crescendo {

namespace {

Tensor kernel(const Tensor& x, const Tensor& y) {
  return x.mm(y.t()).div_(static_cast<double>(x.size(1))).add_(1).pow_(3);
}

// Sum over pairs of different rows.
double sum_of_pairs(const Tensor& x) {
  const Tensor k = kernel(x, x);
  return (k.sum() - k.diagonal().sum()).item<double>();
}

double squared_mmd(const Tensor& x, const Tensor& y) {
  const auto m = static_cast<double>(x.size(0));
  return (sum_of_pairs(x) + sum_of_pairs(y)) / (m * (m - 1)) - 2 * kernel(x, y).sum().item<double>() / (m * m);
}

}  // namespace

KernelDistance kernel_distance(const FeatureMatrix& first, const FeatureMatrix& second,
                               const KernelDistanceOptions& options) {
  check_usage(first.dim() == second.dim(), first.name(), " has features of dimension ", first.dim(), ", ",
              second.name(), " of ", second.dim(), ": they cannot be compared");
  check_usage(options.subsets >= 1, "KID needs at least 1 subset, got ", options.subsets);
  const int64_t smaller = std::min(first.count(), second.count());
  check_usage(options.subset_size >= 2 && options.subset_size <= smaller,
              "a subset of KID has 2 pictures or more, and ", smaller, " at most where a set has ", smaller, "; got ",
              options.subset_size);
  NumpyRandom random(options.seed);
  KernelDistance out;
  for (int64_t i = 0; i < options.subsets; ++i) {
    const Tensor x = first.pick(random.choice(first.count(), options.subset_size), at::kDouble);
    const Tensor y = second.pick(random.choice(second.count(), options.subset_size), at::kDouble);
    out.of_subsets.push_back(squared_mmd(x, y));
  }
  const auto count = static_cast<double>(out.of_subsets.size());
  out.mean = std::accumulate(out.of_subsets.begin(), out.of_subsets.end(), 0.0) / count;
  double squares = 0;
  for (const double value : out.of_subsets) squares += (value - out.mean) * (value - out.mean);
  out.deviation = std::sqrt(squares / count);
  return out;
}

}  // namespace crescendo
