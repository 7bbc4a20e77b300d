// The code of one row of each pass (row_passes.h), for CPUs and GPUs alike. Included where they are compiled only.
#pragma once

#include "crescendo/core/philox.h"
#include "crescendo/kernels/lanes.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo::rows {

template <class Lanes>
CRESCENDO_ROW void row(const Condition& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const float* y = p.y + r % p.y_rows * p.width;
  const float* times = p.times + r / p.y_rows * p.width;
  float* out = p.out + r * p.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) out[i] = silu(y[i] + times[i]);
  if (p.rounded == nullptr) return;
  c10::BFloat16* rounded = p.rounded + r * p.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) store(rounded[i], out[i]);
}

// The operation on one element, shared with the GPU's vectorized kernels (cuda/packed.h).
CRESCENDO_ROW float gated(float gate, float gate_bias, float branch, float branch_bias) {
  return (gate + gate_bias) * (branch + branch_bias);
}
CRESCENDO_ROW float modulated(float normed, float scale, float scale_bias) {
  return normed * (1.0f + scale + scale_bias);
}

template <class T, class Lanes>
CRESCENDO_ROW float* add(const Residual<T>& p, int64_t r, int64_t width, Lanes lanes) {
  float* x = p.x + r * width;
  const float* branch_bias = p.branch_bias;
  if (p.branch == nullptr) {
    const float* input = p.input + r % p.input_rows * width;
    CRESCENDO_EACH
    for (int64_t i = lanes.first(); i < width; i += lanes.step()) x[i] = input[i] + branch_bias[i];
    return x;
  }
  const T* gate = p.gate + r * p.gate_stride;
  const float* gate_bias = p.gate_bias;
  const T* branch = p.branch + r * width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < width; i += lanes.step())
    x[i] += gated(load(gate[i]), gate_bias[i], load(branch[i]), branch_bias[i]);
  return x;
}

struct Moments {
  float mean, factor;
};
CRESCENDO_ROW float normed(float x, Moments m) { return (x - m.mean) * m.factor; }
// Of the sum of squares around the mean.
CRESCENDO_ROW float factor_of(float squares, int64_t n, double eps) {
  return static_cast<float>(1.0 / sqrt(static_cast<double>(squares) / static_cast<double>(n) + eps));
}

template <class T, class Lanes>
CRESCENDO_ROW Moments moments(const T* x, double eps, int64_t n, Lanes lanes) {
  float sum = 0;
  CRESCENDO_EACH_WITH(reduction(+ : sum))
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) sum += load(x[i]);
  const float mean = lanes.sum(sum) / static_cast<float>(n);
  float squares = 0;
  CRESCENDO_EACH_WITH(reduction(+ : squares))
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) squares += (load(x[i]) - mean) * (load(x[i]) - mean);
  return {mean, factor_of(lanes.sum(squares), n, eps)};
}

template <class T, class Lanes>
CRESCENDO_ROW void row(const EnterBlock<T>& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const float* x = add(p.residual, r, n, lanes);
  const Moments m = moments(x, p.eps, n, lanes);
  const T* shift = p.modulation + r * p.modulation_stride;
  const T* scale = shift + p.width;
  const float *shift_bias = p.modulation_bias, *scale_bias = p.modulation_bias + p.width;
  const float *weight = p.norm_weight, *bias = p.norm_bias;
  T* out = p.out + r * p.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step())
    store(out[i], modulated(normed(x[i], m) * weight[i] + bias[i], load(scale[i]), scale_bias[i]) + load(shift[i]) +
                      shift_bias[i]);
}

template <class T, class Lanes>
CRESCENDO_ROW void row(const Activate<T>& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const T* in = p.in + r * p.width;
  const float* bias = p.bias;
  T* out = p.out + r * p.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) store(out[i], silu(load(in[i]) + bias[i]));
}

template <class T, class Lanes>
CRESCENDO_ROW void row(const LeaveBlocks<T>& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const float* x = add(p.residual, r, n, lanes);
  const Moments m = moments(x, p.eps, n, lanes);
  const float *scale = p.scale + r * p.width, *scale_bias = p.scale_bias;
  float* out = p.out + r * p.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step())
    out[i] = modulated(normed(x[i], m), scale[i], scale_bias[i]);
}

template <class T, class Lanes>
CRESCENDO_ROW void row(const AddNorm<T>& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const T *x = p.x + r * n, *branch = p.branch + r * n;
  T *sum = p.sum + r * n, *out = p.out + r * n;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) store(sum[i], load(x[i]) + load(branch[i]));
  const Moments m = moments(sum, p.eps, n, lanes);  // of what is handed on
  const T *weight = p.weight, *bias = p.bias;
  if (weight == nullptr) {
    CRESCENDO_EACH
    for (int64_t i = lanes.first(); i < n; i += lanes.step()) store(out[i], normed(load(sum[i]), m));
    return;
  }
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step())
    store(out[i], normed(load(sum[i]), m) * load(weight[i]) + load(bias[i]));
}

template <class Lanes>
CRESCENDO_ROW void row(const Guide& p, int64_t r, Lanes lanes) {
  const int64_t n = p.width;
  const float *cond = p.cond + r * p.stride, *uncond = p.uncond + r * p.stride;
  float* out = p.out + r * p.out_stride;
  const float s = *p.scale;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < n; i += lanes.step()) out[i] = uncond[i] + s * (cond[i] - uncond[i]);
}

template <class Lanes>
CRESCENDO_ROW void row(const AncestralStep& p, int64_t r, Lanes lanes) {
  const AncestralStep c = p;
  const float *x = c.x + r * c.width, *eps = c.eps + r * c.eps_stride;
  float* out = c.out + r * c.width;
  if (c.noise == nullptr) {
    CRESCENDO_EACH
    for (int64_t i = lanes.first(); i < c.width; i += lanes.step())
      out[i] = (x[i] * c.x_to_x0 - eps[i] * c.eps_to_x0) * c.mean_of_x0 + x[i] * c.mean_of_x;
    return;
  }
  const float *fraction = c.fraction + r * c.fraction_stride, *noise = c.noise + r * c.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < c.width; i += lanes.step()) {
    const float mean = (x[i] * c.x_to_x0 - eps[i] * c.eps_to_x0) * c.mean_of_x0 + x[i] * c.mean_of_x;
    const float log_variance = c.min_log_variance + (fraction[i] + 1.0f) * 0.5f * c.log_range;
    out[i] = mean + exponential(0.5f * log_variance) * noise[i] * c.temperature;
  }
}

template <class Lanes>
CRESCENDO_ROW void row(const MultistepStep& p, int64_t r, Lanes lanes) {
  const MultistepStep c = p;
  const float *x = c.x + r * c.width, *eps = c.eps + r * c.eps_stride;
  // What is missing has no weight.
  const float *before = c.before == nullptr ? x : c.before + r * c.width,
              *noise = c.noise == nullptr ? x : c.noise + r * c.width;
  const float of_before = c.before == nullptr ? 0.0f : c.of_before, of_noise = c.noise == nullptr ? 0.0f : c.of_noise;
  float *x0 = c.x0 + r * c.width, *out = c.out + r * c.width;
  CRESCENDO_EACH
  for (int64_t i = lanes.first(); i < c.width; i += lanes.step()) {
    const float estimate = x[i] * c.x_to_x0 - eps[i] * c.eps_to_x0;
    out[i] = x[i] * c.of_x + estimate * c.of_x0 + before[i] * of_before + noise[i] * of_noise;
    x0[i] = estimate;
  }
}

// Four numbers at a time: a block of Philox.
template <class Lanes>
CRESCENDO_ROW void row(const Normals& p, int64_t r, Lanes lanes) {
  const auto seed = static_cast<uint64_t>(p.seeds[r % p.seeds_count]);
  const PhiloxStream stream = philox_stream(seed, p.purpose, p.a, p.b + static_cast<uint32_t>(r / p.seeds_count));
  float* out = p.out + r * p.width;
  for (int64_t block = lanes.first(); block * 4 < p.width; block += lanes.step()) {
    const PhiloxBlock bits = philox(stream, static_cast<uint64_t>(block));
    for (int64_t k = 0; k < 4 && block * 4 + k < p.width; k += 2) {
      const NormalPair pair = box_muller(bits.word[k], bits.word[k + 1]);
      out[block * 4 + k] = pair.first;
      if (block * 4 + k + 1 < p.width) out[block * 4 + k + 1] = pair.second;
    }
  }
}

}  // namespace crescendo::rows
