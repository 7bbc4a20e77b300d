// Passes over the rows of the diffusion head that are not products, each as one loop over memory.
//
// All pointers are to contiguous floats; `n` is the row's length. Compiled for several instruction sets, of which the
// one that the machine has is chosen when the program starts.
#pragma once

#include <cstdint>

namespace crescendo::rows {

// out = silu(a + b)
void silu_of_sum(float* out, const float* a, const float* b, int64_t n);
// x += bias
void add(float* x, const float* bias, int64_t n);
// x += (gate + gate_bias) * (branch + branch_bias)
void add_gated(float* x, const float* gate, const float* gate_bias, const float* branch, const float* branch_bias,
               int64_t n);
// Layer normalisation without affine: out = (x - mean) / sqrt(variance + eps)
void normalize(float* out, const float* x, double eps, int64_t n);
// out = (out * weight + bias) * (1 + scale + scale_bias) + shift + shift_bias
void modulate(float* out, const float* weight, const float* bias, const float* scale, const float* scale_bias,
              const float* shift, const float* shift_bias, int64_t n);
// out = out * (1 + scale + scale_bias)
void rescale(float* out, const float* scale, const float* scale_bias, int64_t n);

}  // namespace crescendo::rows
