#include "crescendo/train/clipped_steps.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"

namespace crescendo {

double ClippedSteps::operator()(const Tensor& loss, double lr) {
  optimizer_.zero_grad();
  loss.backward();
  const double norm = optimizer_.grad_norm();
  if (std::isfinite(norm)) optimizer_.step(lr, clip_ > 0 ? std::min(1.0, clip_ / (norm + 1e-12)) : 1.0);
  skipped_ = std::isfinite(norm) ? 0 : skipped_ + 1;
  check(skipped_ < 10, "training broke down: ten steps in a row had a gradient that is not finite; lower lr");
  return norm;
}

}  // namespace crescendo
