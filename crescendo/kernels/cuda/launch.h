// How kernels are started. For nvcc only.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "crescendo/kernels/cuda/stream.h"

namespace crescendo {

inline constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;  // along x

// For kernels whose blocks take what is left over in a loop.
inline unsigned blocks_for(int64_t count) { return static_cast<unsigned>(std::min(count, kMostBlocks)); }

// Starts `kernel` on LibTorch's current stream; `shared_bytes` is what each block has besides its own arrays.
template <class... Parameter, class... Argument>
void start(void (*kernel)(Parameter...), unsigned blocks, unsigned threads, size_t shared_bytes,
           const Argument&... arguments) {
  cudaLaunchConfig_t how = {};
  how.gridDim = dim3(blocks);
  how.blockDim = dim3(threads);
  how.dynamicSmemBytes = shared_bytes;
  how.stream = static_cast<cudaStream_t>(current_cuda_stream());
  const cudaError_t error = cudaLaunchKernelEx(&how, kernel, arguments...);
  if (error == cudaSuccess) return;
  cudaGetLastError();  // clears the error: it is reported here
  throw std::runtime_error(std::string("CUDA kernel: ") + cudaGetErrorString(error));
}

}  // namespace crescendo
