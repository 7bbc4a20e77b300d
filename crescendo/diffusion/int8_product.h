// Products of activated conditions with weights in int8: silu(y) W^T, for the head's modulations on a CPU.
//
// Weights are rounded to int8 with a scale for each of their rows. Activations are rounded to eight bits by a scale of
// their own row, so that a row's result does not depend on the rows beside it (to seven bits where the processor's
// products could overflow); most of the eight bits are for what is positive, as silu's numbers mostly are.
#pragma once

#include <ATen/core/ivalue.h>

#include "crescendo/core/tensor.h"

namespace crescendo {

class Int8Product {
 public:
  // Whether this LibTorch has such products for this processor.
  static bool available();

  explicit Int8Product(const Tensor& weight);  // (N, K), any floating type; throws where it is not available

  // out (M, N), fp32 or bf16 = silu_y (M, K) weight^T; silu_y in fp32.
  void operator()(Tensor out, const Tensor& silu_y) const;

 private:
  c10::IValue packed_;
};

}  // namespace crescendo
