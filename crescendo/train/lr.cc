#include "crescendo/train/lr.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace crescendo {

double learning_rate(const LrOptions& o, double peak, int64_t images, int64_t total) {
  const auto at = static_cast<double>(images), warmup = static_cast<double>(o.warmup_images);
  // The first step already moves: half an image's worth of progress stands in for zero.
  if (at < warmup) return peak * std::max(at, 0.5) / warmup;
  const double progress = std::clamp((at - warmup) / std::max(1.0, static_cast<double>(total) - warmup), 0.0, 1.0);
  switch (o.shape) {
    case LrShape::kConstant:
      return peak;
    case LrShape::kCosine:
      return peak * (o.end + (1 - o.end) * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    case LrShape::kLinear:
      return peak * (o.end + (1 - o.end) * (1 - progress));
  }
  fail("learning_rate: no shape number ", static_cast<int>(o.shape));
}

}  // namespace crescendo
