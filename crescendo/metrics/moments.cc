#include "crescendo/metrics/moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"

namespace crescendo {

namespace {

constexpr int64_t kBlock = 256;  // rows of a product; the result's rounding depends on it

}  // namespace

Moments::Moments(int64_t dim) {
  check(dim > 0, "moments: features need a dimension of at least 1, got ", dim);
  mean_ = at::zeros({dim}, at::kDouble);
  scatter_ = at::zeros({dim, dim}, at::kDouble);
  block_ = at::empty({kBlock, dim}, at::kDouble);
}

void Moments::add(const Tensor& rows) {
  check(rows.dim() == 2 && rows.size(1) == dim() && rows.is_floating_point(), "moments: rows must be (B, ", dim(),
        ") of floating type, got ", rows.sizes());
  const Tensor given = rows.detach().to(at::kCPU, at::kDouble);
  check_finite(given, "features", "moments");
  for (int64_t done = 0; done < given.size(0);) {
    const int64_t count = std::min(kBlock - waiting_, given.size(0) - done);
    block_.narrow(0, waiting_, count).copy_(given.narrow(0, done, count));
    waiting_ += count;
    done += count;
    if (waiting_ == kBlock) reduce_waiting();
  }
}

void Moments::reduce_waiting() {
  if (waiting_ == 0) return;
  const Tensor rows = block_.narrow(0, 0, waiting_);
  const Tensor mean = rows.mean(0);
  const Tensor centred = rows - mean;
  join(std::exchange(waiting_, 0), mean, centred.t().mm(centred));
}

// The scatter of two sets is the sum of theirs and what their means add, d d^T n1 n2 / (n1 + n2).
void Moments::join(int64_t count, const Tensor& mean, const Tensor& scatter) {
  const auto before = static_cast<double>(count_), more = static_cast<double>(count), all = before + more;
  const Tensor difference = mean - mean_;
  scatter_.add_(scatter).addr_(difference, difference, /*beta=*/1, /*alpha=*/before * more / all);
  mean_.add_(difference, more / all);
  count_ += count;
}

void Moments::merge(const MeanCovariance& other) {
  check(other.dim() == dim(), "moments: features of dimension ", other.dim(), " cannot join those of ", dim());
  check(other.count > 0, "moments: statistics without a count of pictures cannot be merged");
  reduce_waiting();
  join(other.count, other.mean, other.covariance * static_cast<double>(other.count - 1));
}

MeanCovariance Moments::result() const {
  check(count() >= 2, "moments: a covariance needs at least 2 pictures, got ", count());
  Moments all = *this;
  all.mean_ = mean_.clone();
  all.scatter_ = scatter_.clone();
  all.reduce_waiting();
  // Products of a matrix with itself are symmetric but for their rounding.
  const Tensor covariance = (all.scatter_ + all.scatter_.t()) * (0.5 / static_cast<double>(all.count_ - 1));
  return {all.count_, all.mean_, covariance};
}

MeanCovariance mean_covariance(const Tensor& rows) {
  check(rows.dim() == 2, "moments: rows must be (N, D), got ", rows.sizes());
  Moments moments(rows.size(1));
  constexpr int64_t kRows = 4096;  // are turned to double at once
  for (int64_t begin = 0; begin < rows.size(0); begin += kRows) moments.add(rows.slice(0, begin, begin + kRows));
  return moments.result();
}

}  // namespace crescendo
