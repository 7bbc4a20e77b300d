// Passes over rows of numbers that are no products, each as one loop over memory: what the diffusion head and its
// solver need between two products.
//
// A pass is plain data: pointers to contiguous rows, and what the row's numbers are multiplied with. run() goes through
// all rows, on a CPU by threads, on a GPU as one kernel on LibTorch's current stream; the code of a row is the same for
// both (row_bodies.h). On a CPU it is compiled for several instruction sets, of which the one that the machine has is
// chosen when the program starts. T, what goes into a product and comes out of one, is fp32 or bf16; everything else is
// fp32.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/BFloat16.h>

#include <cstdint>

namespace crescendo::rows {

// out = silu(y[row % y_rows] + times[row / y_rows]), also in the type of the products where `rounded` is given.
struct Condition {
  int64_t rows, width;
  const float* y;  // (y_rows, width)
  int64_t y_rows;
  const float* times;  // (rows / y_rows, width)
  float* out;
  c10::BFloat16* rounded;  // may be null
};

// What is added to the residual stream x: the gated branch of a block, or, where there is none, the input layer's rows.
//   x += (gate + gate_bias) * (branch + branch_bias)      or      x = input[row % input_rows] + branch_bias
template <class T>
struct Residual {
  float* x;  // (rows, width)
  const T* gate;
  int64_t gate_stride;
  const float* gate_bias;
  const T* branch;  // null: there is none
  const float* branch_bias;
  const float* input;  // (input_rows, width)
  int64_t input_rows;
};

// A block begins: its residual, then layer normalisation and modulation,
//   out = (norm(x) * weight + bias) * (1 + scale + scale_bias) + shift + shift_bias
template <class T>
struct EnterBlock {
  int64_t rows, width;
  Residual<T> residual;
  double eps;
  const float *norm_weight, *norm_bias;
  const T* modulation;  // rows of shift, scale, ..: (rows, >= 2 width)
  int64_t modulation_stride;
  const float* modulation_bias;
  T* out;  // (rows, width)
};

// out = silu(in + bias)
template <class T>
struct Activate {
  int64_t rows, width;
  const T* in;
  const float* bias;
  T* out;
};

// The blocks end: the last one's residual, then out = norm(x) * (1 + scale + scale_bias).
template <class T>
struct LeaveBlocks {
  int64_t rows, width;
  Residual<T> residual;
  double eps;
  const float *scale, *scale_bias;
  float* out;  // (rows, width)
};

// LeaveBlocks and the head's final layer in one kernel of a GPU: out = row weight^T + shift, the row of LeaveBlocks
// is not stored. With `guidance` the second half of the rows are the same tokens without condition, and eps, the first
// half of the outputs, is guided: out has half as many rows. x is not changed.
template <class T>
struct FinalLayer {
  int64_t rows, width;
  Residual<T> residual;
  double eps;
  const float *scale, *scale_bias;
  const float* weight;  // (outputs, width)
  int64_t outputs;
  const float* shift;     // (rows, outputs)
  const float* guidance;  // s, one element; may be null
  float* out;             // (rows or rows / 2, outputs)
};

// A transformer's residual stream: sum = x + branch, out = norm(sum) * weight + bias.
template <class T>
struct AddNorm {
  int64_t rows, width;
  const T *x, *branch;
  double eps;
  const T *weight, *bias;  // may be null
  T *sum, *out;
};

// Guidance: out = uncond + s (cond - uncond), rows of `cond` and `uncond` lying `stride` apart.
struct Guide {
  int64_t rows, width;
  const float *cond, *uncond;
  int64_t stride;
  const float* scale;  // s, one number
  float* out;          // may be `cond`
  int64_t out_stride;
};

// One step of ancestral sampling: x_0 from eps, the posterior's mean, and its noise with the learned variance
// (solvers.h). Rows of eps and of the variance fraction lie a stride apart; without noise the mean is the result.
struct AncestralStep {
  int64_t rows, width;
  const float *x, *eps;
  int64_t eps_stride;
  const float* fraction;
  int64_t fraction_stride;
  const float* noise;                 // may be null
  float x_to_x0, eps_to_x0;           // x_0 = x_to_x0 x - eps_to_x0 eps
  float mean_of_x0, mean_of_x;        // mean = mean_of_x0 x_0 + mean_of_x x
  float min_log_variance, log_range;  // log variance = min + (fraction + 1) / 2 range
  float temperature;
  float* out;
};

// One step of DPM-Solver++ 2M, with noise or without (solvers.h): the estimate of x_0, and from it, the one of the step
// before and x the next x.
struct MultistepStep {
  int64_t rows, width;
  const float *x, *eps;
  int64_t eps_stride;
  const float* before;                     // the estimate of the step before; may be null
  const float* noise;                      // may be null
  float x_to_x0, eps_to_x0;                // x_0 = x_to_x0 x - eps_to_x0 eps
  float of_x, of_x0, of_before, of_noise;  // out = of_x x + of_x0 x_0 + of_before before + of_noise noise
  float *x0, *out;                         // x0 may be `before`
};

// Normally distributed noise: row r of `width` elements comes from the stream (seeds[r % seeds_count], purpose, a,
// b + r / seeds_count) of core/rng.h, so it is equal on all devices up to the rounding of logarithm and cosine.
struct Normals {
  int64_t rows, width;
  const int64_t* seeds;  // on the device
  int64_t seeds_count;
  uint32_t purpose, a, b;
  float* out;
};

// Whether passes can run there: on every CPU, and on a GPU where the program was built with its kernels.
bool serves(c10::Device device);

// Whether FinalLayer can run there for rows of that length: on a GPU, if its vectorized kernels take them.
bool supports_row_length(c10::Device device, int64_t width);
// The same for AddNorm, which also runs on every CPU.
bool adds_norms(c10::Device device, int64_t width);

void run(const Condition& pass, c10::Device device);
void run(const EnterBlock<float>& pass, c10::Device device);
void run(const EnterBlock<c10::BFloat16>& pass, c10::Device device);
void run(const Activate<float>& pass, c10::Device device);
void run(const Activate<c10::BFloat16>& pass, c10::Device device);
void run(const LeaveBlocks<float>& pass, c10::Device device);
void run(const LeaveBlocks<c10::BFloat16>& pass, c10::Device device);
void run(const FinalLayer<float>& pass, c10::Device device);
void run(const FinalLayer<c10::BFloat16>& pass, c10::Device device);
void run(const AddNorm<float>& pass, c10::Device device);
void run(const AddNorm<c10::BFloat16>& pass, c10::Device device);
void run(const Guide& pass, c10::Device device);
void run(const AncestralStep& pass, c10::Device device);
void run(const MultistepStep& pass, c10::Device device);
void run(const Normals& pass, c10::Device device);

}  // namespace crescendo::rows
