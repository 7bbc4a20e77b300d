// Products of activated conditions with weights in int8: silu(y) W^T, for the head's modulations on a CPU.
//
// Weights are rounded to int8 with a scale for each of their rows. Activations are rounded to eight bits by a scale of
// their own row, so that a row's result does not depend on the rows beside it (to seven bits where the processor's
// products could overflow); most of the eight bits are for what is positive, as silu's numbers mostly are.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

// silu(y), rounded: number = scale * (byte - zero), the same zero for all.
struct RoundedRows {
  Tensor bytes;  // (M, K), filled up to whole groups of four
  Tensor scale;  // (M)
};
RoundedRows rounded_rows(const Tensor& silu_y);  // (M, K), fp32, contiguous

class Int8Product {
 public:
  explicit Int8Product(const Tensor& weight);  // (N, K), any floating type, on a CPU
  // out (M, N), fp32 or bf16, contiguous = silu(y) weight^T.
  void operator()(const RoundedRows& silu_y, Tensor& out) const;

 private:
  int64_t outputs_, depth_;
  Tensor packed_;
  Tensor scale_, zero_;  // of every output, filled up to whole panels: fp32, int32
};

}  // namespace crescendo
