// The diffusion head in few passes over memory: the same function as Head::forward, for sampling.
//
// It differs from Head::forward in this, and computes the same:
// - on a CPU weights are packed once, where a second copy is small or pays (kernels/cpu/packed_weight.h);
// - products are written to buffers that are kept, and nothing else is a pass of its own: biases, activations,
//   normalisation, modulation and gates are added where the next product's input is written (kernels/row_passes.h);
// - modulations depend on the condition and the time but not on x: those of several inner steps are one product where
//   the rows of one step are few;
// - x passes the input layer once where it has several conditions (guidance);
// - on a GPU what follows the blocks, up to guidance, is one kernel;
// - the last layer's shift is folded into its linear map: W_out (W_shift s + b) is a product of 2C rows
//   instead of W.
// With weights in bf16 the blocks' products are in bf16, and everything else in fp32: the input layer, every sum, the
// last layer; the caller may let a GPU round the factors of those products to TF32. With int8 the blocks' products and
// the last layer's scale are in int8, whatever type the weights have.
#pragma once

#include <memory>
#include <optional>

#include "crescendo/diffusion/guidance.h"
#include "crescendo/diffusion/head.h"
#include "crescendo/kernels/cpu/packed_weight.h"

namespace crescendo {

class FusedHead {
 public:
  // Whether it serves for these weights: fp32 or bf16, on a CPU or on a GPU that the passes run on.
  static bool serves(const Head& head);

  // `int8`: products by weights in int8 (kernels/cpu/packed_weight.h), on a CPU only.
  explicit FusedHead(const Head& head, bool int8 = false);
  // Whether the weights are few enough for a second copy, and for every thread to read all of them.
  bool is_small() const;
  // The same weights, packed ones included, and buffers of its own: for another thread.
  FusedHead with_own_buffers() const;

  // How many of `steps` inner steps have their modulations computed at once for `rows` rows. The two numbers determine
  // the sizes of the buffers.
  int64_t chunk_of(int64_t rows, int64_t steps) const;

  // Sets the condition y (M, W) of the rows and the time embedding of every inner step, times (T, W): an outer step
  // begins. Any floating type.
  void begin(const Tensor& y, const Tensor& times);
  // eps and variance fraction at inner step i of those: (M, 2C), fp32. x is (M, C), or (M / n, C) where the conditions
  // are n blocks that share x. Steps are expected in descending order; another order costs time. Not
  // from two threads at once.
  Tensor forward(const Tensor& x, int64_t i) { return evaluate(x, i, {}); }
  // The same, guided: x (M / 2, C) is shared by both conditions (guided_output).
  Denoised guided(const Tensor& x, int64_t i, const Tensor& scale);

 private:
  // A weight in the type of the products, and, where that serves it, packed.
  struct Weight {
    Tensor matrix;
    std::shared_ptr<const PackedWeight> packed{};
  };
  // out = x weight^T, plus a bias or rows of as many outputs where they are given.
  static void multiply(Tensor& out, const Tensor& x, const Weight& weight, const Tensor& added = {});
  // The same for the condition, which many weights meet.
  void modulate(Tensor& out, const Tensor& condition, const Weight& weight) const;
  struct Block {
    Weight modulation, mlp0, mlp2;                                         // weights, in the type of the products
    Tensor norm_weight, norm_bias, modulation_bias, mlp0_bias, mlp2_bias;  // fp32
    double eps;
  };
  // Computes what depends on the time and not on x for inner step i and as many below it as fit.
  void begin_chunk(int64_t i);
  // (M, 2C), or guided (M / 2, 2C) where `guidance`, s, is given, which takes a device that supports_row_length().
  Tensor evaluate(const Tensor& x, int64_t i, const Tensor& guidance);
  template <class T>
  Tensor evaluate_in(const Tensor& x, int64_t i, const Tensor& guidance);

  at::ScalarType type_;  // of the products
  bool int8_;
  int64_t width_;
  std::vector<Block> blocks_;
  Weight input_weight_;  // fp32, as are all of the last layer:
  Tensor input_bias_;
  Weight final_scale_weight_, folded_shift_, final_weight_;  // (W, W), (2C, W), (2C, W)
  Tensor final_scale_bias_, output_bias_;                    // (W), (2C)
  Tensor y_, times_;                                         // (M, W), (T, W) fp32
  int64_t rows_ = 0, chunk_ = 0;                             // M; inner steps whose modulations are computed at once
  int64_t first_ = 0, end_ = 0;                              // the steps of the chunk at hand
  Tensor condition_, product_condition_;  // (chunk M, W): silu(y + time), fp32 and in the type of the products
  RoundedRows rounded_condition_;         // the same for int8
  std::vector<Tensor> modulation_;        // (chunk M, 3W): shift, scale, gate
  Tensor scale_, shift_;                  // (chunk M, W), (chunk M, 2C) of the last layer, fp32
  Tensor input_, x_, normed_;             // (M, W) fp32: of the input layer, the residual stream, the last layer's
  Tensor hidden_, branch_;                // (M, W) in the type of the products
};

}  // namespace crescendo
