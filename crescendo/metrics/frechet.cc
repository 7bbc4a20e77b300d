#include "crescendo/metrics/frechet.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

double trace_of(const Tensor& matrix) { return matrix.diagonal().sum().item<double>(); }

// Sets of fewer pictures than the features have dimensions leave directions in which nothing is known; their FID is far
// too large and must not be compared with that of another count.
std::string rank_warning(int64_t count_a, int64_t count_b, int64_t dim) {
  std::string few;
  for (const int64_t count : {count_a, count_b})
    if (count > 0 && count <= dim) few += concat(few.empty() ? "" : " and ", count);
  if (few.empty()) return "";
  return concat("a set of ", few, " pictures is too small for ", dim,
                " dimensions: its Frechet distance is dominated by the missing pictures; take more than ", dim);
}

FrechetDistance made_of(const Tensor& mean_a, const Tensor& mean_b, double traces, double trace_of_root,
                        std::string warning) {
  FrechetDistance out;
  out.of_means = (mean_a - mean_b).square().sum().item<double>();
  out.of_covariances = traces - 2 * trace_of_root;
  out.value = out.of_means + out.of_covariances;
  out.warning = std::move(warning);
  return out;
}

void check_same_dim(int64_t a, int64_t b) {
  check_usage(a == b, "features of dimension ", a, " cannot be compared with features of dimension ", b);
}

}  // namespace

FrechetReference::FrechetReference(MeanCovariance reference) : reference_(std::move(reference)) {
  const auto [values, vectors] = at::linalg_eigh(reference_.covariance);
  root_ = vectors * values.clamp_min(0).sqrt();
  trace_ = trace_of(reference_.covariance);
}

FrechetDistance FrechetReference::distance(const MeanCovariance& other) const {
  check_same_dim(dim(), other.dim());
  const Tensor product = root_.t().mm(other.covariance).mm(root_);
  const Tensor values = at::linalg_eigvalsh((product + product.t()) * 0.5);
  return made_of(reference_.mean, other.mean, trace_ + trace_of(other.covariance),
                 values.clamp_min(0).sqrt().sum().item<double>(), rank_warning(reference_.count, other.count, dim()));
}

FrechetDistance frechet_distance(const MeanCovariance& a, const MeanCovariance& b) {
  check_same_dim(a.dim(), b.dim());
  return FrechetReference(a).distance(b);
}

FrechetDistance frechet_distance(const FeatureMatrix& a, const FeatureMatrix& b) {
  check_same_dim(a.dim(), b.dim());
  if (std::min(a.count(), b.count()) > a.dim())
    return frechet_distance(mean_covariance(a.tensor()), mean_covariance(b.tensor()));
  struct Side {
    Tensor mean, centred;  // (D), (N, D) over the root of N - 1
  };
  const auto side = [](const FeatureMatrix& features) {
    check(features.count() >= 2, features.name(), ": a covariance needs at least 2 pictures, got ", features.count());
    const Tensor rows = features.rows(0, features.count(), at::kDouble).cpu();
    const Tensor mean = rows.mean(0);
    return Side{mean, (rows - mean) / std::sqrt(static_cast<double>(features.count() - 1))};
  };
  const Side of_a = side(a), of_b = side(b);
  const double root = at::linalg_svdvals(of_a.centred.mm(of_b.centred.t())).sum().item<double>();
  const double traces = (of_a.centred.square().sum() + of_b.centred.square().sum()).item<double>();
  return made_of(of_a.mean, of_b.mean, traces, root, rank_warning(a.count(), b.count(), a.dim()));
}

}  // namespace crescendo
