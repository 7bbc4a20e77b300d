// x weight^T + bias with its gradients, as training computes it.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

// x (..., in), weight (out, in) and bias (out) -> (..., out). Where a gradient is wanted on a CPU that has
// kernels/cpu/onednn, the product and both of its gradients are made by it, as one node of the graph, which has no
// second derivative; elsewhere at::linear. Under autocast to bf16 the factors are rounded as there, while the gradients
// come out in the type of what they belong to: those of fp32 weights are not rounded.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace crescendo
