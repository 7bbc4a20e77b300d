// How kernels are started. For nvcc only.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "crescendo/kernels/cuda_stream.h"

namespace crescendo {

inline constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;  // along x

// For kernels whose blocks take what is left over in a loop.
inline unsigned blocks_for(int64_t count) { return static_cast<unsigned>(std::min(count, kMostBlocks)); }

inline cudaStream_t stream() { return static_cast<cudaStream_t>(current_cuda_stream()); }

inline void check_launch() {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA kernel: ") + cudaGetErrorString(error));
}

}  // namespace crescendo
