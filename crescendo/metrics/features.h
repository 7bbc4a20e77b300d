// Networks through which metrics look at pictures: pictures -> features. Inception, a classifier of our own and
// TorchScript files are each one.
#pragma once

#include <ATen/core/Tensor.h>

#include "crescendo/core/json.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct Features {
  at::Tensor pool;     // (B, D) fp32: distances are measured between these
  at::Tensor logits;   // (B, K) fp32: class scores for the Inception Score; undefined where the network has none
  at::Tensor spatial;  // (B, S) fp32: features that keep places, for sFID; undefined where the network has none
};

class FeatureExtractor {
 public:
  virtual ~FeatureExtractor() = default;
  // The picture as the network takes it, (3, h, w), the same size for every picture. May be called from several threads
  // at once.
  virtual at::Tensor prepare(const Image& image) const = 0;
  // (B, 3, h, w) of prepared pictures -> their features. A picture's features do not depend on its batch beyond rounding.
  virtual Features operator()(const at::Tensor& prepared) const = 0;
  // What makes features comparable: network, preprocessing preset, SHA-256 of the weights, dtype. Statistics of another
  // identity are refused.
  virtual Json identity() const = 0;
};

}  // namespace crescendo
