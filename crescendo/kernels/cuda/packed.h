// The head's passes on a GPU for rows whose length is a multiple of four, as all published ones are: a thread takes
// four neighbouring elements of a row and keeps them in registers through the whole pass, so that a row is read once,
// in wide accesses. For nvcc only.
#pragma once

#include <cuda_runtime.h>

#include "crescendo/kernels/row_bodies.h"

namespace crescendo::rows::cuda {

constexpr int kPack = 4, kWarp = 32;
constexpr int kMostPackedThreads = 512;  // so rows of up to 2048 numbers
constexpr unsigned kAllLanes = 0xffffffffu;

struct Pack {
  float v[kPack];
};

__device__ __forceinline__ Pack load_pack(const float* p) {
  const float4 x = *reinterpret_cast<const float4*>(p);
  return {{x.x, x.y, x.z, x.w}};
}
__device__ __forceinline__ Pack load_pack(const c10::BFloat16* p) {
  const uint2 x = *reinterpret_cast<const uint2*>(p);
  return {{float_of(x.x << 16), float_of(x.x & 0xffff0000u), float_of(x.y << 16), float_of(x.y & 0xffff0000u)}};
}
__device__ __forceinline__ void store_pack(float* p, const Pack& x) {
  *reinterpret_cast<float4*>(p) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
}
__device__ __forceinline__ void store_pack(c10::BFloat16* p, const Pack& x) {
  c10::BFloat16 rounded[kPack];
#pragma unroll
  for (int k = 0; k < kPack; ++k) store(rounded[k], x.v[k]);
  *reinterpret_cast<uint2*>(p) =
      make_uint2(rounded[0].x | uint32_t{rounded[1].x} << 16, rounded[2].x | uint32_t{rounded[3].x} << 16);
}

// Block-wide sums of `kCount` values per thread, returned to all threads. `of_warps` holds kCount values per warp.
template <int kCount>
__device__ __forceinline__ void block_sums(float (&x)[kCount], float* of_warps) {
#pragma unroll
  for (int n = 0; n < kCount; ++n)
    for (int offset = kWarp / 2; offset > 0; offset /= 2) x[n] += __shfl_xor_sync(kAllLanes, x[n], offset);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return;
  __syncthreads();  // the sums before may still be read
  if (threadIdx.x % kWarp == 0)
#pragma unroll
    for (int n = 0; n < kCount; ++n) of_warps[threadIdx.x / kWarp * kCount + n] = x[n];
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kCount; ++n) x[n] = 0;
  for (int w = 0; w < warps; ++w)
#pragma unroll
    for (int n = 0; n < kCount; ++n) x[n] += of_warps[w * kCount + n];
}

// The residual stream at four numbers, from `i` of row `r` on, after the pass's branch.
template <class T>
__device__ __forceinline__ Pack residual_pack(const Residual<T>& p, int64_t r, int64_t width, int64_t i) {
  const Pack branch_bias = load_pack(p.branch_bias + i);
  Pack x;
  if (p.branch == nullptr) {
    const Pack input = load_pack(p.input + r % p.input_rows * width + i);
#pragma unroll
    for (int k = 0; k < kPack; ++k) x.v[k] = input.v[k] + branch_bias.v[k];
    return x;
  }
  x = load_pack(p.x + r * width + i);
  const Pack gate = load_pack(p.gate + r * p.gate_stride + i), gate_bias = load_pack(p.gate_bias + i),
             branch = load_pack(p.branch + r * width + i);
#pragma unroll
  for (int k = 0; k < kPack; ++k) x.v[k] += gated(gate.v[k], gate_bias.v[k], branch.v[k], branch_bias.v[k]);
  return x;
}

// Mean and factor (Moments) of `kRows` rows whose numbers the block's threads hold.
template <int kRows>
__device__ __forceinline__ void pack_moments(const Pack (&x)[kRows], bool holds, int64_t width, double eps,
                                             float* of_warps, Moments (&out)[kRows]) {
  float sums[kRows];
#pragma unroll
  for (int n = 0; n < kRows; ++n) sums[n] = holds ? x[n].v[0] + x[n].v[1] + x[n].v[2] + x[n].v[3] : 0;
  block_sums(sums, of_warps);
  float squares[kRows];
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    out[n].mean = sums[n] / static_cast<float>(width);
    squares[n] = 0;
    if (holds)
#pragma unroll
      for (int k = 0; k < kPack; ++k) squares[n] += (x[n].v[k] - out[n].mean) * (x[n].v[k] - out[n].mean);
  }
  block_sums(squares, of_warps);
#pragma unroll
  for (int n = 0; n < kRows; ++n)  // in fp32, as every thread computes it and most GPUs are slow in fp64
    out[n].factor = 1.0f / sqrtf(squares[n] / static_cast<float>(width) + static_cast<float>(eps));
}

template <class T>
__global__ void __launch_bounds__(kMostPackedThreads) packed_rows(const EnterBlock<T> p) {
  __shared__ float of_warps[kMostPackedThreads / kWarp];
  const int64_t i = int64_t{threadIdx.x} * kPack;
  const bool holds = i < p.width;
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    Pack x[1] = {}, shift, scale, weight, bias, shift_bias, scale_bias;
    if (holds) {  // all that is read is asked for before anything waits
      x[0] = residual_pack(p.residual, r, p.width, i);
      const T* modulation = p.modulation + r * p.modulation_stride + i;
      shift = load_pack(modulation), scale = load_pack(modulation + p.width);
      weight = load_pack(p.norm_weight + i), bias = load_pack(p.norm_bias + i);
      shift_bias = load_pack(p.modulation_bias + i), scale_bias = load_pack(p.modulation_bias + p.width + i);
      store_pack(p.residual.x + r * p.width + i, x[0]);
    }
    Moments m[1];
    pack_moments(x, holds, p.width, p.eps, of_warps, m);
    if (!holds) continue;
    Pack out;
#pragma unroll
    for (int k = 0; k < kPack; ++k)
      out.v[k] = modulated(normed(x[0].v[k], m[0]) * weight.v[k] + bias.v[k], scale.v[k], scale_bias.v[k]) +
                 shift.v[k] + shift_bias.v[k];
    store_pack(p.out + r * p.width + i, out);
  }
}

template <class T>
__global__ void __launch_bounds__(kMostPackedThreads) packed_rows(const Activate<T> p) {
  const int64_t i = int64_t{threadIdx.x} * kPack;
  if (i >= p.width) return;
  const Pack bias = load_pack(p.bias + i);
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    Pack x = load_pack(p.in + r * p.width + i);
#pragma unroll
    for (int k = 0; k < kPack; ++k) x.v[k] = silu(x.v[k] + bias.v[k]);
    store_pack(p.out + r * p.width + i, x);
  }
}

static __global__ void __launch_bounds__(kMostPackedThreads) packed_rows(const Condition p) {
  const int64_t i = int64_t{threadIdx.x} * kPack;
  if (i >= p.width) return;
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    Pack y = load_pack(p.y + r % p.y_rows * p.width + i);
    const Pack times = load_pack(p.times + r / p.y_rows * p.width + i);
#pragma unroll
    for (int k = 0; k < kPack; ++k) y.v[k] = silu(y.v[k] + times.v[k]);
    store_pack(p.out + r * p.width + i, y);
    if (p.rounded != nullptr) store_pack(p.rounded + r * p.width + i, y);
  }
}

template <class T>
__global__ void __launch_bounds__(kMostPackedThreads) packed_rows(const AddNorm<T> p) {
  __shared__ float of_warps[kMostPackedThreads / kWarp];
  const int64_t i = int64_t{threadIdx.x} * kPack;
  const bool holds = i < p.width;
  Pack weight = {{1, 1, 1, 1}}, bias = {};
  if (holds && p.weight != nullptr) weight = load_pack(p.weight + i), bias = load_pack(p.bias + i);
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    Pack x[1] = {};
    if (holds) {
      x[0] = load_pack(p.x + r * p.width + i);
      const Pack branch = load_pack(p.branch + r * p.width + i);
#pragma unroll
      for (int k = 0; k < kPack; ++k) {
        T sum;
        store(sum, x[0].v[k] + branch.v[k]);
        x[0].v[k] = load(sum);  // the norm is of what is handed on
      }
      store_pack(p.sum + r * p.width + i, x[0]);
    }
    Moments m[1];
    pack_moments(x, holds, p.width, p.eps, of_warps, m);
    if (!holds) continue;
#pragma unroll
    for (int k = 0; k < kPack; ++k) x[0].v[k] = normed(x[0].v[k], m[0]) * weight.v[k] + bias.v[k];
    store_pack(p.out + r * p.width + i, x[0]);
  }
}

// Rows that share one reading of the last layer's weights, and outputs that a warp computes at a time.
constexpr int kAnswerRows = 4, kFinalOutputs = 4;

// Row n of those that block `group` answers: two tokens with condition and without, or four.
template <class T>
__device__ __forceinline__ int64_t final_layer_row(const FinalLayer<T>& p, int64_t group, int n) {
  if (p.guidance == nullptr) return group * kAnswerRows + n;
  const int64_t tokens = p.rows / 2, token = group * (kAnswerRows / 2) + n % (kAnswerRows / 2);
  return token < tokens ? token + (n < kAnswerRows / 2 ? 0 : tokens) : p.rows;
}

// Shared memory: the rows (kAnswerRows, width).
template <class T>
__global__ void __launch_bounds__(kMostPackedThreads) final_layer(const FinalLayer<T> p) {
  extern __shared__ float4 normed_rows[];
  __shared__ float of_warps[kMostPackedThreads / kWarp * kAnswerRows];
  const int64_t i = int64_t{threadIdx.x} * kPack, group = blockIdx.x;
  const bool holds = i < p.width;
  Pack x[kAnswerRows] = {}, scale[kAnswerRows] = {}, scale_bias = {};
  if (holds) {
    scale_bias = load_pack(p.scale_bias + i);
#pragma unroll
    for (int n = 0; n < kAnswerRows; ++n) {
      const int64_t r = final_layer_row(p, group, n);
      if (r >= p.rows) continue;
      x[n] = residual_pack(p.residual, r, p.width, i);
      scale[n] = load_pack(p.scale + r * p.width + i);
    }
  }
  Moments m[kAnswerRows];
  pack_moments(x, holds, p.width, p.eps, of_warps, m);
  const int packs = static_cast<int>(p.width / kPack);
  if (holds)
#pragma unroll
    for (int n = 0; n < kAnswerRows; ++n) {
      Pack h;
#pragma unroll
      for (int k = 0; k < kPack; ++k) h.v[k] = modulated(normed(x[n].v[k], m[n]), scale[n].v[k], scale_bias.v[k]);
      normed_rows[n * packs + static_cast<int>(threadIdx.x)] = make_float4(h.v[0], h.v[1], h.v[2], h.v[3]);
    }
  __syncthreads();

  const int lane = static_cast<int>(threadIdx.x) % kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  for (int64_t first = int64_t{threadIdx.x} / kWarp * kFinalOutputs; first < p.outputs;
       first += int64_t{warps} * kFinalOutputs) {
    float sums[kAnswerRows * kFinalOutputs] = {};
    // Weights of the next packs are loaded while these are used. Outputs beyond the last read its weights; packs beyond
    // the last are ignored.
    constexpr int kAhead = 2;
    const auto weights_at = [&](int pack, float4(&w)[kFinalOutputs]) {
#pragma unroll
      for (int o = 0; o < kFinalOutputs; ++o) {
        const int64_t output = first + o < p.outputs ? first + o : p.outputs - 1;
        w[o] = *reinterpret_cast<const float4*>(p.weight + output * p.width + int64_t{pack} * kPack);
      }
    };
    float4 w[kAhead][kFinalOutputs];
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      if (lane + a * kWarp < packs) weights_at(lane + a * kWarp, w[a]);
    for (int from = lane; from < packs; from += kAhead * kWarp) {
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int pack = from + a * kWarp;
        if (pack >= packs) break;
#pragma unroll
        for (int n = 0; n < kAnswerRows; ++n) {
          const float4 h = normed_rows[n * packs + pack];
#pragma unroll
          for (int o = 0; o < kFinalOutputs; ++o)
            sums[n * kFinalOutputs + o] += h.x * w[a][o].x + h.y * w[a][o].y + h.z * w[a][o].z + h.w * w[a][o].w;
        }
        if (pack + kAhead * kWarp < packs) weights_at(pack + kAhead * kWarp, w[a]);
      }
    }
    // Each round gives half of the sums to the lane's partner and takes its half of the others, until a lane has one.
    constexpr int kSums = kAnswerRows * kFinalOutputs;
    static_assert(kSums == kWarp || kSums == kWarp / 2);
#pragma unroll
    for (int count = kSums / 2, round = 0; round < 5; ++round, count /= 2) {
      const int offset = kWarp / 2 >> round;
      const bool upper = (lane & offset) != 0;
#pragma unroll
      for (int k = 0; k < kSums / 2; ++k)
        if (k < count) {
          const float given = upper ? sums[k] : sums[k + count], kept = upper ? sums[k + count] : sums[k];
          sums[k] = kept + __shfl_xor_sync(kAllLanes, given, offset);
        }
    }
    float value = sums[0];
    if (kSums < kWarp) value += __shfl_xor_sync(kAllLanes, value, 1);
    const int sum = lane / (kWarp / kSums), n = sum / kFinalOutputs;  // which of the sums the lane has
    const int64_t o = first + sum % kFinalOutputs, r = final_layer_row(p, group, n);
    const bool lies = r < p.rows && o < p.outputs;
    if (lies) value += p.shift[r * p.outputs + o];
    if (p.guidance != nullptr) {
      const float without = __shfl_xor_sync(kAllLanes, value, kWarp / 2);  // of the same token, where n is below half
      if (o < p.outputs / 2) value = without + *p.guidance * (value - without);
      if (n >= kAnswerRows / 2) continue;
    }
    if (lies && lane % (kWarp / kSums) == 0) p.out[r * p.outputs + o] = value;
  }
}

}  // namespace crescendo::rows::cuda
