// A linear layer's weight, packed once for many products on a CPU: as it is, in fp32 or bf16, or rounded to int8.
#pragma once

#include "crescendo/core/tensor.h"
#include "crescendo/kernels/cpu/rounded_rows.h"

namespace crescendo {

// What becomes of the tensor later does not show.
class PackedWeight {
 public:
  // A matrix in fp32 or bf16 on a CPU: in bf16 of an even K, for int8 of at most kMostOfInt8.
  static bool serves(const Tensor& weight, bool int8 = false);
  explicit PackedWeight(const Tensor& weight, bool int8 = false);  // (N, K); int8 has a scale for each output

  int64_t depth() const { return depth_; }      // K
  int64_t outputs() const { return outputs_; }  // N
  // out (M, N) = x (M, K) weight^T + added, a bias (N) or rows (M, N), or nothing where undefined. All contiguous;
  // `added` is in fp32, out in fp32 or, where the weight was in bf16 or is in int8, in either. x is of the weight's
  // type; for int8 it is in fp32 or bf16, and gets rounded.
  void multiply(const Tensor& x, const Tensor& added, Tensor& out) const;
  // For int8, with rows that are rounded already.
  void multiply(const RoundedRows& x, const Tensor& added, Tensor& out) const;

  static constexpr int64_t kMostOfInt8 = 1 << 16;  // K whose sums of products fit in 32 bits

 private:
  bool is_int8() const { return scale_.defined(); }
  void check_sizes(at::IntArrayRef x, int64_t depth, const Tensor& added, const Tensor& out) const;

  int64_t outputs_, depth_;
  Tensor packed_;
  Tensor scale_, sum_;  // of every output's numbers in int8, filled up to whole panels: fp32, int32
};

}  // namespace crescendo
