// What the kernels take from CUDA, on a CPU, so that tests can run them there, without any of CUDA's headers. The
// threads of a block take turns (block.cc); blocks come one after another. What nvcc makes of a kernel, a GPU's memory
// and its rounding are for tests on a GPU.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ thread_local  // one thread of the CPU runs all of a block

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

struct dim3 {
  constexpr dim3(unsigned count = 1) : x(count) {}
  unsigned x;
};
extern constinit thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorLaunchFailure };

namespace cuda_on_cpu {

// Runs `thread` for every thread of every block. A fault is an error that last_fault() describes: an exchange that not
// all of a warp's threads come to, or over a distance that they do not share, and more threads or bytes than a block
// may have.
cudaError_t run(unsigned blocks, unsigned threads, size_t shared_bytes, const std::function<void()>& thread);
const char* last_fault();

// For a thread of a block: gives what is for the thread `offset` away, waits until all of its warp, whom `mask` must
// name, have done so, and returns what that one gave.
uint64_t exchange(unsigned mask, uint64_t given, unsigned offset);

}  // namespace cuda_on_cpu

void __syncthreads();

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int offset) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = cuda_on_cpu::exchange(mask, bits, static_cast<unsigned>(offset));
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};
template <class... Parameter, class... Argument>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* how, void (*kernel)(Parameter...),
                               const Argument&... arguments) {
  return cuda_on_cpu::run(how->gridDim.x, how->blockDim.x, how->dynamicSmemBytes, [&] { kernel(arguments...); });
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return cuda_on_cpu::last_fault(); }

inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
template <class T>
cudaError_t cudaMallocManaged(T** memory, size_t bytes) {
  constexpr size_t kAlignment = 256;
  *memory = static_cast<T*>(std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
