// The diffusion head on a CPU in few passes over memory: the same function as Head::forward, for sampling in fp32.
//
// What differs, and why the result stays what it is:
// - products go into buffers that are kept, and nothing else is a pass of its own: biases, activations, normalisation,
//   modulation and gates are added where the next product's input is written (row_passes.h);
// - the last layer's shift goes through its linear map once and for all: W_out (W_shift s + b) is a product of 2C rows
//   instead of W.
#pragma once

#include <array>

#include "crescendo/diffusion/head.h"

namespace crescendo {

class FusedHead {
 public:
  // Whether the weights lie where this can use them: on the CPU, in fp32.
  static bool serves(const Head& head);

  // The head must outlive this.
  explicit FusedHead(const Head& head);

  // eps and variance fraction for x (M, C) under the condition y (M, W) and the time embedding (W) of all rows: (M,
  // 2C). Not from two threads at once.
  Tensor forward(const Tensor& x, const Tensor& y, const Tensor& time);

 private:
  void reserve(int64_t rows);
  // x += the gated branch of block b (its modulation and branch lie in the buffers), or the input's bias for b = -1.
  void add_branch(int64_t block, int64_t row);

  const Head& head_;
  int64_t width_;
  Tensor final_scale_weight_, final_scale_bias_;    // (W, W), (W): a view of the last modulation
  Tensor folded_shift_, output_bias_;               // (2C, W), (2C)
  Tensor condition_, x_, hidden_, branch_, scale_;  // (M, W): silu(y + time); the residual stream; inputs of products
  std::array<Tensor, 2> modulation_;                // (M, 3W) of even and odd blocks: shift, scale, gate
};

}  // namespace crescendo
