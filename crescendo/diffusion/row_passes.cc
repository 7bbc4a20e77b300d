#include "crescendo/diffusion/row_passes.h"

#include <algorithm>
#include <bit>
#include <cmath>

// One function, several instruction sets; sanitizers cannot follow the choice, other processors have one set.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CRESCENDO_VECTORIZED __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define CRESCENDO_VECTORIZED
#endif

namespace crescendo::rows {

namespace {

// exp by range reduction to [-ln 2/2, ln 2/2] and the polynomial of the Cephes library, without branches so that a loop
// over it becomes vector code; relative error below 2e-7.
[[gnu::always_inline]] inline float fast_exp(float x) {
  x = std::clamp(x, -87.0f, 88.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const int32_t power = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  return (p * r * r + r + 1.0f) * std::bit_cast<float>((power + 127) << 23);
}

// A number of a row as fp32, and back. bf16 is the upper half of an fp32; rounding is to even, as LibTorch's is.
[[gnu::always_inline]] inline float load(float x) { return x; }
[[gnu::always_inline]] inline float load(c10::BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.x) << 16);
}
[[gnu::always_inline]] inline void store(float& out, float x) { out = x; }
[[gnu::always_inline]] inline void store(c10::BFloat16& out, float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.x = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);  // what is not a number stays so
}

template <class Out, class In>
[[gnu::always_inline]] inline void silu_of_sum_body(Out* out, const In* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float y = load(a[i]) + b[i];
    store(out[i], y / (1.0f + fast_exp(-y)));
  }
}

template <class T>
[[gnu::always_inline]] inline void add_gated_body(float* x, const T* gate, const float* gate_bias, const T* branch,
                                                  const float* branch_bias, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += (load(gate[i]) + gate_bias[i]) * (load(branch[i]) + branch_bias[i]);
}

struct Moments {
  float mean, factor;  // norm(x) = (x - mean) * factor
};

[[gnu::always_inline]] inline Moments moments(const float* x, double eps, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double variance = static_cast<double>(squares) / static_cast<double>(n);
  return {mean, static_cast<float>(1.0 / std::sqrt(variance + eps))};
}

template <class T>
[[gnu::always_inline]] inline void normalize_modulate_body(T* out, const float* x, double eps, const float* weight,
                                                           const float* bias, const T* scale, const float* scale_bias,
                                                           const T* shift, const float* shift_bias, int64_t n) {
  const Moments m = moments(x, eps, n);
  for (int64_t i = 0; i < n; ++i) {
    const float normed = (x[i] - m.mean) * m.factor * weight[i] + bias[i];
    store(out[i], normed * (1.0f + load(scale[i]) + scale_bias[i]) + load(shift[i]) + shift_bias[i]);
  }
}

}  // namespace

CRESCENDO_VECTORIZED void silu_of_sum(float* out, const float* a, const float* b, int64_t n) {
  silu_of_sum_body(out, a, b, n);
}
CRESCENDO_VECTORIZED void silu_of_sum(c10::BFloat16* out, const float* a, const float* b, int64_t n) {
  silu_of_sum_body(out, a, b, n);
}
CRESCENDO_VECTORIZED void silu_of_sum(c10::BFloat16* out, const c10::BFloat16* a, const float* b, int64_t n) {
  silu_of_sum_body(out, a, b, n);
}

CRESCENDO_VECTORIZED void add(float* x, const float* bias, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += bias[i];
}

CRESCENDO_VECTORIZED void add_gated(float* x, const float* gate, const float* gate_bias, const float* branch,
                                    const float* branch_bias, int64_t n) {
  add_gated_body(x, gate, gate_bias, branch, branch_bias, n);
}
CRESCENDO_VECTORIZED void add_gated(float* x, const c10::BFloat16* gate, const float* gate_bias,
                                    const c10::BFloat16* branch, const float* branch_bias, int64_t n) {
  add_gated_body(x, gate, gate_bias, branch, branch_bias, n);
}

CRESCENDO_VECTORIZED void normalize_modulate(float* out, const float* x, double eps, const float* weight,
                                             const float* bias, const float* scale, const float* scale_bias,
                                             const float* shift, const float* shift_bias, int64_t n) {
  normalize_modulate_body(out, x, eps, weight, bias, scale, scale_bias, shift, shift_bias, n);
}
CRESCENDO_VECTORIZED void normalize_modulate(c10::BFloat16* out, const float* x, double eps, const float* weight,
                                             const float* bias, const c10::BFloat16* scale, const float* scale_bias,
                                             const c10::BFloat16* shift, const float* shift_bias, int64_t n) {
  normalize_modulate_body(out, x, eps, weight, bias, scale, scale_bias, shift, shift_bias, n);
}

CRESCENDO_VECTORIZED void normalize_rescale(float* out, const float* x, double eps, const float* scale,
                                            const float* scale_bias, int64_t n) {
  const Moments m = moments(x, eps, n);
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - m.mean) * m.factor * (1.0f + scale[i] + scale_bias[i]);
}

}  // namespace crescendo::rows
