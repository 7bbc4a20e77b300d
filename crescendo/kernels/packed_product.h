// Products whose second factor is packed before: in fp32 on a CPU.
//
// A BLAS packs its factors at every call, which is much of the work where rows are few. Weights that meet many inputs
// are packed once instead: into panels of sixteen outputs, in which what one step of a sum needs lies side by side. A
// row's result depends on that row alone, to the last bit, so it is the same in any batch and with any number of
// threads.
#pragma once

#include "crescendo/core/tensor.h"

namespace crescendo {

namespace panels {

constexpr int64_t kWidth = 16;  // outputs of a panel

// Numbers that `outputs` packed columns of `depth` numbers take.
constexpr int64_t packed_size(int64_t outputs, int64_t depth) {
  return (outputs + kWidth - 1) / kWidth * kWidth * depth;
}

// Packs factor[j * output_stride + k * depth_stride] for outputs j and depth k. The last panel is filled up with zeros.
void pack(const float* factor, int64_t output_stride, int64_t depth_stride, int64_t outputs, int64_t depth,
          float* packed);

// out[r * out_stride + j] = added[r * added_stride + j] + sum over k of x[r * x_stride + k] * packed factor [j, k].
struct Product {
  int64_t rows, depth, outputs;
  const float* x;
  int64_t x_stride;
  const float* packed;
  const float* added;    // may be null
  int64_t added_stride;  // 0 for a bias, the same for all rows
  float* out;
  int64_t out_stride;
};
// On the calling thread.
void multiply(const Product& product);
// The same by registers of sixteen numbers, which multiply() takes where there are such; slow elsewhere.
void multiply_by_sixteens(const Product& product);
// On all of LibTorch's threads, or the calling one in a parallel region.
void multiply_in_parallel(const Product& product);

}  // namespace panels

// A linear layer's weight, packed: what becomes of the tensor later does not show.
class PackedWeight {
 public:
  static bool serves(const Tensor& weight);     // fp32 on a CPU
  explicit PackedWeight(const Tensor& weight);  // (N, K)
  // Whether products of `rows` rows gain by it: a BLAS knows better how to divide large ones.
  static bool gains(int64_t rows, const Tensor& weight) { return rows <= kFewRows || weight.numel() <= kSmall; }

  int64_t depth() const { return depth_; }      // K
  int64_t outputs() const { return outputs_; }  // N
  // out (M, N) = x (M, K) weight^T + added, a bias (N) or rows (M, N), or nothing where undefined. All contiguous and
  // fp32.
  void multiply(const Tensor& x, const Tensor& added, Tensor& out) const;

  static constexpr int64_t kFewRows = 64, kSmall = 1 << 18;  // rows, and numbers of a weight

 private:
  int64_t outputs_, depth_;
  Tensor packed_;
};

}  // namespace crescendo
