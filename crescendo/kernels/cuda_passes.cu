// A block of threads a row; the code of the row is the CPU's.
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "crescendo/kernels/cuda_passes.h"
#include "crescendo/kernels/cuda_stream.h"
#include "crescendo/kernels/row_bodies.h"

namespace crescendo::rows::cuda {

namespace {

constexpr int kWarp = 32;
constexpr int kMostThreads = 256;  // a row of 1024 numbers: four a thread
constexpr unsigned kAllLanes = 0xffffffffu;

// The threads of a block. Every one of them must come to sum(), and all get the same.
struct BlockLanes {
  __device__ int64_t first() const { return threadIdx.x; }
  __device__ int64_t step() const { return blockDim.x; }
  __device__ float sum(float x) const {
    __shared__ float of_warp[kMostThreads / kWarp];
    for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    if (warps == 1) return x;
    __syncthreads();  // the sum before may still be read
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = x;
    __syncthreads();
    float total = 0;
    for (int w = 0; w < warps; ++w) total += of_warp[w];
    return total;
  }
};

// Blocks count up to 2^31 along x, rows do not in practice reach that; a loop keeps it right all the same.
template <class Pass>
__global__ void __launch_bounds__(kMostThreads) over_rows(const Pass pass) {
  for (int64_t r = blockIdx.x; r < pass.rows; r += gridDim.x) row(pass, r, BlockLanes{});
}

// Numbers of a row that a thread takes at a time.
template <class Pass>
constexpr int64_t kPerThread = 1;
template <>
constexpr int64_t kPerThread<Normals> = 4;

template <class Pass>
void launch(const Pass& pass) {
  if (pass.rows == 0 || pass.width == 0) return;
  const int64_t lanes = (pass.width + kPerThread<Pass> - 1) / kPerThread<Pass>;
  int threads = kWarp;
  while (threads < kMostThreads && threads < lanes) threads *= 2;
  constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;
  const auto blocks = static_cast<unsigned>(pass.rows < kMostBlocks ? pass.rows : kMostBlocks);
  over_rows<Pass><<<blocks, threads, 0, static_cast<cudaStream_t>(current_cuda_stream())>>>(pass);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA kernel: ") + cudaGetErrorString(error));
}

}  // namespace

bool built() { return true; }

void run(const Condition& pass) { launch(pass); }
void run(const EnterBlock<float>& pass) { launch(pass); }
void run(const EnterBlock<c10::BFloat16>& pass) { launch(pass); }
void run(const Activate<float>& pass) { launch(pass); }
void run(const Activate<c10::BFloat16>& pass) { launch(pass); }
void run(const LeaveBlocks<float>& pass) { launch(pass); }
void run(const LeaveBlocks<c10::BFloat16>& pass) { launch(pass); }
void run(const Guide& pass) { launch(pass); }
void run(const AncestralStep& pass) { launch(pass); }
void run(const Normals& pass) { launch(pass); }

}  // namespace crescendo::rows::cuda
