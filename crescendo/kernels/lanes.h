// What a row's code needs to be the same on a CPU and on a GPU: numbers, and the lanes that share the row.
//
// A row is a loop over its numbers from lanes.first() on in steps of lanes.step(). A CPU has one lane, and the loop
// becomes vector code; on a GPU the threads of a block are the lanes, and sum() adds over them.
#pragma once

#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define CRESCENDO_ROW __host__ __device__ __forceinline__
#else
#define CRESCENDO_ROW [[gnu::always_inline]] inline
#endif
// Before a loop over a row: its iterations are independent (no aliasing), so the compiler vectorizes without checks.
// EACH_WITH adds a clause, e.g. reduction(max : most), which lets it reorder the reduction.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define CRESCENDO_PRAGMA(text) _Pragma(#text)
#define CRESCENDO_EACH CRESCENDO_PRAGMA(omp simd)
#define CRESCENDO_EACH_WITH(...) CRESCENDO_PRAGMA(omp simd __VA_ARGS__)
#else
#define CRESCENDO_EACH
#define CRESCENDO_EACH_WITH(...)
#endif

namespace crescendo::rows {

struct OneLane {
  CRESCENDO_ROW static constexpr int64_t first() { return 0; }
  CRESCENDO_ROW static constexpr int64_t step() { return 1; }
  CRESCENDO_ROW float sum(float x) const { return x; }
};

CRESCENDO_ROW uint32_t bits_of(float x) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(x);
#else
  return std::bit_cast<uint32_t>(x);
#endif
}
CRESCENDO_ROW float float_of(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

// The integer nearest to x, where |x| < 2^22; unspecified for NaN. Adding 1.5 * 2^23 rounds.
CRESCENDO_ROW int32_t whole(float x) { return static_cast<int32_t>(bits_of(x + 12582912.0f) - bits_of(12582912.0f)); }

// On a CPU by range reduction to [-ln 2/2, ln 2/2] and the polynomial of the Cephes library, without branches so that a
// loop over it becomes vector code; relative error below 2e-7.
CRESCENDO_ROW float exponential(float x) {
#ifdef __CUDA_ARCH__
  return expf(x);
#else
  // Clamped to [-87, 87] in integers: a comparison of fp32 would be a branch. NaN becomes one of the two bounds.
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits & 0x80000000u;
  const auto magnitude = static_cast<int32_t>(bits ^ sign);
  constexpr auto kLargest = std::bit_cast<int32_t>(87.0f);
  x = std::bit_cast<float>(sign | static_cast<uint32_t>(magnitude < kLargest ? magnitude : kLargest));
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
#endif
}

CRESCENDO_ROW float silu(float x) { return x / (1.0f + exponential(-x)); }

// A number of a row as fp32, and back. bf16 is the upper half of an fp32; rounding is to even, as LibTorch's is.
CRESCENDO_ROW float load(float x) { return x; }
CRESCENDO_ROW float load(c10::BFloat16 x) { return float_of(static_cast<uint32_t>(x.x) << 16); }
CRESCENDO_ROW void store(float& out, float x) { out = x; }
CRESCENDO_ROW void store(c10::BFloat16& out, float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.x = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);  // what is not a number stays so
}

}  // namespace crescendo::rows
