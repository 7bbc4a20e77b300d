// A linear layer's weight, packed once for many products: in fp32 or bf16 on a CPU.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

// What becomes of the tensor later does not show.
class PackedWeight {
 public:
  static bool serves(const Tensor& weight);     // in fp32 on a CPU, or in bf16 of an even K
  explicit PackedWeight(const Tensor& weight);  // (N, K)
  // Whether products of `rows` rows gain by it: a BLAS knows better how to divide large ones.
  static bool gains(int64_t rows, const Tensor& weight) { return rows <= kFewRows || weight.numel() <= kSmall; }

  int64_t depth() const { return depth_; }      // K
  int64_t outputs() const { return outputs_; }  // N
  // out (M, N) = x (M, K) weight^T + added, a bias (N) or rows (M, N), or nothing where undefined. All contiguous; x is
  // of the weight's type, `added` in fp32, and out of either.
  void multiply(const Tensor& x, const Tensor& added, Tensor& out) const;

  static constexpr int64_t kFewRows = 64, kSmall = 1 << 18;  // rows, and numbers of a weight

 private:
  int64_t outputs_, depth_;
  Tensor packed_;
};

}  // namespace crescendo
