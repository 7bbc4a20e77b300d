// Rows of activations rounded to eight bits, the first factor of a product in int8 on a CPU.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

// number = scale * (byte - zero), with a scale and a zero for each row, so that a row does not depend on those beside
// it. A row's bytes reach from its least number to its largest, and always to 0.
struct RoundedRows {
  Tensor bytes;  // (M, K)
  Tensor scale;  // (M) fp32
  Tensor zero;   // (M) int32
};
RoundedRows rounded_rows(const Tensor& x);  // (.., K), fp32 or bf16, contiguous; M rows of K

// 255, or 127 where the processor's products add pairs in 16 bits, which would overflow.
int largest_byte();

}  // namespace crescendo
