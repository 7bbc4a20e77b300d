// Passes over the rows of the diffusion head that are not products, each as one loop over memory.
//
// All pointers are to contiguous numbers; `n` is the row's length. What goes into a product and comes out of one is
// fp32 or bf16, everything else fp32. Compiled for several instruction sets, of which the one that the machine has is
// chosen when the program starts.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace crescendo::rows {

// out = silu(a + b)
void silu_of_sum(float* out, const float* a, const float* b, int64_t n);
void silu_of_sum(c10::BFloat16* out, const float* a, const float* b, int64_t n);
void silu_of_sum(c10::BFloat16* out, const c10::BFloat16* a, const float* b, int64_t n);
// x += bias
void add(float* x, const float* bias, int64_t n);
// x += (gate + gate_bias) * (branch + branch_bias)
void add_gated(float* x, const float* gate, const float* gate_bias, const float* branch, const float* branch_bias,
               int64_t n);
void add_gated(float* x, const c10::BFloat16* gate, const float* gate_bias, const c10::BFloat16* branch,
               const float* branch_bias, int64_t n);
// Layer normalisation and modulation: out = (norm(x) * weight + bias) * (1 + scale + scale_bias) + shift + shift_bias,
// norm(x) = (x - mean) / sqrt(variance + eps)
void normalize_modulate(float* out, const float* x, double eps, const float* weight, const float* bias,
                        const float* scale, const float* scale_bias, const float* shift, const float* shift_bias,
                        int64_t n);
void normalize_modulate(c10::BFloat16* out, const float* x, double eps, const float* weight, const float* bias,
                        const c10::BFloat16* scale, const float* scale_bias, const c10::BFloat16* shift,
                        const float* shift_bias, int64_t n);
// out = norm(x) * (1 + scale + scale_bias)
void normalize_rescale(float* out, const float* x, double eps, const float* scale, const float* scale_bias, int64_t n);

}  // namespace crescendo::rows
