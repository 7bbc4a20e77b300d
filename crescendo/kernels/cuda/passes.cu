// A block of threads a row; the code of the row is the CPU's, or for the head's passes, where rows are even enough,
// that of cuda_packed.h.
#include <cuda_runtime.h>

#include <stdexcept>

#include "crescendo/kernels/cuda/launch.h"
#include "crescendo/kernels/cuda/packed.h"
#include "crescendo/kernels/cuda/passes.h"
#include "crescendo/kernels/row_bodies.h"

namespace crescendo::rows::cuda {

namespace {

constexpr int kMostThreads = 256;  // a row of 1024 numbers: four a thread

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
  unsigned threads = kWarp;
  while (threads < kMostThreads && threads < lanes) threads *= 2;
  start(over_rows<Pass>, blocks_for(pass.rows), threads, 0, pass);
}

// Whether rows of that many numbers can be packed, given everything that a pass reads and writes and strides by.
template <class... T>
bool packable(int64_t width, int64_t stride, const T*... pointers) {
  return width > 0 && width % kPack == 0 && stride % kPack == 0 && width <= int64_t{kMostPackedThreads} * kPack &&
         ((reinterpret_cast<uintptr_t>(pointers) % (kPack * sizeof(T)) == 0) && ...);
}
template <class T>
bool packable(int64_t width, const Residual<T>& p) {
  return packable(width, p.gate_stride, p.x, p.gate, p.gate_bias, p.branch, p.branch_bias, p.input);
}
unsigned packed_threads(int64_t width) { return static_cast<unsigned>((width / kPack + kWarp - 1) / kWarp * kWarp); }

template <class Pass>
void launch_packed(const Pass& pass) {
  if (pass.rows == 0) return;
  start(static_cast<void (*)(Pass)>(packed_rows), blocks_for(pass.rows), packed_threads(pass.width), 0, pass);
}

template <class T>
void enter(const EnterBlock<T>& p) {
  const bool packs = packable(p.width, p.residual) && packable(p.width, p.modulation_stride, p.norm_weight, p.norm_bias,
                                                               p.modulation, p.modulation_bias, p.out);
  packs ? launch_packed(p) : launch(p);
}

template <class T>
void activate(const Activate<T>& p) {
  packable(p.width, 0, p.in, p.bias, p.out) ? launch_packed(p) : launch(p);
}

template <class T>
void add_norm(const AddNorm<T>& p) {
  if (!supports_row_length(p.width) || !packable(p.width, 0, p.x, p.branch, p.weight, p.bias, p.sum, p.out))
    throw std::invalid_argument("CUDA kernel: rows that cannot be packed");
  launch_packed(p);
}

template <class T>
void launch_answer(const FinalLayer<T>& p) {
  if (p.rows == 0) return;
  if (!supports_row_length(p.width) || !packable(p.width, p.residual) ||
      !packable(p.width, 0, p.scale, p.scale_bias, p.weight))
    throw std::invalid_argument("CUDA kernel: FinalLayer does not support rows of this length or alignment");
  const int64_t tokens = p.guidance == nullptr ? p.rows : p.rows / 2,
                a_block = p.guidance == nullptr ? kAnswerRows : kAnswerRows / 2,
                blocks = (tokens + a_block - 1) / a_block;
  if (blocks > kMostBlocks) throw std::invalid_argument("CUDA kernel: too many rows");
  start(final_layer<T>, static_cast<unsigned>(blocks), packed_threads(p.width),
        static_cast<size_t>(kAnswerRows * p.width) * sizeof(float), p);
}

}  // namespace

bool built() { return true; }
bool supports_row_length(int64_t width) {
  return width % kPack == 0 && width > 0 && width <= int64_t{kMostPackedThreads} * kPack;
}

void run(const Condition& pass) {
  packable(pass.width, 0, pass.y, pass.times, pass.out, pass.rounded) ? launch_packed(pass) : launch(pass);
}
void run(const EnterBlock<float>& pass) { enter(pass); }
void run(const EnterBlock<c10::BFloat16>& pass) { enter(pass); }
void run(const Activate<float>& pass) { activate(pass); }
void run(const Activate<c10::BFloat16>& pass) { activate(pass); }
void run(const LeaveBlocks<float>& pass) { launch(pass); }
void run(const LeaveBlocks<c10::BFloat16>& pass) { launch(pass); }
void run(const FinalLayer<float>& pass) { launch_answer(pass); }
void run(const FinalLayer<c10::BFloat16>& pass) { launch_answer(pass); }
void run(const AddNorm<float>& pass) { add_norm(pass); }
void run(const AddNorm<c10::BFloat16>& pass) { add_norm(pass); }
void run(const Guide& pass) { launch(pass); }
void run(const AncestralStep& pass) { launch(pass); }
void run(const MultistepStep& pass) { launch(pass); }
void run(const Normals& pass) { launch(pass); }

}  // namespace crescendo::rows::cuda
