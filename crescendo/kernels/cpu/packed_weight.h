// A linear layer's weight, made ready for many products on a CPU: in fp32 or bf16, or rounded to int8.
#pragma once

#include <memory>

#include "crescendo/core/tensor.h"
#include "crescendo/kernels/cpu/onednn.h"
#include "crescendo/kernels/cpu/rounded_rows.h"

namespace crescendo {

enum class Products {
  kPacked,   // by a copy, laid out for the processor's instructions
  kInt8,     // by a copy in int8, which has a scale for each output
  kInPlace,  // by the weight where it lies, if a copy gains little: for large weights
};

// What becomes of the tensor later does not show, but for kInPlace.
class PackedWeight {
 public:
  // A matrix in fp32 or bf16 on a CPU, and oneDNN at hand; for kInt8 of at most kMostOfInt8 columns, which LibTorch
  // multiplies where there is no oneDNN.
  static bool serves(const Tensor& weight, Products how = Products::kPacked);
  explicit PackedWeight(const Tensor& weight, Products how = Products::kPacked);  // (N, K)

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
  void check_sizes(at::IntArrayRef x, const Tensor& added, const Tensor& out) const;
  void run(const Tensor& x, const Tensor& added, Tensor& out) const;

  at::ScalarType type_;  // of the products' factors: fp32, bf16 or int8
  int64_t outputs_, depth_;
  std::shared_ptr<const onednn::LaidOut> laid_out_;  // or, where there is none,
  Tensor plain_;                                     // (N, K)
  Tensor scale_, sum_;                               // of every output's numbers in int8: (N) fp32, int32
};

}  // namespace crescendo
