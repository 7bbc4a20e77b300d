// Three kernels: sums of each part of an image, mean and factor of each group, and the numbers themselves. In the first
// and the last a block's threads lie side by side along the channels, `rows` positions at a time, and a thread keeps
// its channels: four neighbours where they belong to one group, one elsewhere.
#include <cuda_runtime.h>

#include <stdexcept>

#include "crescendo/kernels/cuda/launch.h"
#include "crescendo/kernels/cuda/packed.h"
#include "crescendo/kernels/group_norm.h"

namespace crescendo::groups {

namespace {

using rows::cuda::kAllLanes;
using rows::cuda::kPack;
using rows::cuda::kWarp;

constexpr int kThreads = 256, kBlocksAtOnce = 4;
constexpr int kGroupThreads = 128;  // of the block that adds up a group
constexpr int kBatch = 4;           // loads that a thread has under way

struct Shape {
  int64_t images, positions, channels, groups;
  int64_t lanes = 0;                   // threads along the channels
  int64_t tiles = 0;                   // parts of the lanes, where they are more than a block's threads
  int64_t chunk_size = 0, chunks = 0;  // positions of a part of an image, and its parts
  int tile_lanes = 0, rows = 0;        // a block's threads
  __host__ __device__ int64_t blocks() const { return images * chunks * tiles; }
};

int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <class Pass>
Shape shape_of(const Pass& p, int count) {
  Shape s{p.images, p.positions, p.channels, p.groups};
  s.lanes = p.channels / count;
  s.tile_lanes = static_cast<int>(std::min<int64_t>(s.lanes, kThreads));
  s.tiles = parts(s.lanes, s.tile_lanes);
  s.rows = kThreads / s.tile_lanes;
  const int64_t most = std::max<int64_t>(kMostChunks / p.images, 1);
  s.chunk_size = parts(parts(p.positions, most), s.rows) * s.rows;
  s.chunks = parts(p.positions, s.chunk_size);
  return s;
}

// Where a thread works: every `rows`th position from `begin` on.
struct Place {
  int64_t image, part, lane, begin, end;  // the part of all images' parts
};

__device__ __forceinline__ Place place(const Shape& s, int64_t block) {
  const int row = static_cast<int>(threadIdx.x) / s.tile_lanes, lane = static_cast<int>(threadIdx.x) % s.tile_lanes;
  Place p;
  p.part = block / s.tiles;
  p.lane = block % s.tiles * s.tile_lanes + lane;
  p.image = p.part / s.chunks;
  const int64_t first = p.part % s.chunks * s.chunk_size, end = first + s.chunk_size;
  p.begin = first + row;
  p.end = end < s.positions ? end : s.positions;
  if (row >= s.rows || p.lane >= s.lanes) p.end = p.begin;  // a thread too many
  return p;
}

template <class T, int kCount>
__device__ __forceinline__ void read(const T* from, float (&v)[kCount]) {
  if constexpr (kCount == kPack) {
    const rows::cuda::Pack x = rows::cuda::load_pack(from);
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = x.v[i];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = rows::load(from[i]);
  }
}
template <class T, int kCount>
__device__ __forceinline__ void write(T* to, const float (&v)[kCount]) {
  if constexpr (kCount == kPack) {
    rows::cuda::store_pack(to, {{v[0], v[1], v[2], v[3]}});
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) rows::store(to[i], v[i]);
  }
}

__device__ __forceinline__ void add(double2& sums, double2 other) { sums.x += other.x, sums.y += other.y; }

// Sum and sum of squares of each lane in each part: (images chunks, lanes).
template <int kCount, class In>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce) sum_parts(const Shape s, const In* x, double2* sums) {
  __shared__ double2 of_threads[kThreads];
  for (int64_t block = blockIdx.x; block < s.blocks(); block += gridDim.x) {
    const Place at = place(s, block);
    const In* from = x + at.image * s.positions * s.channels + at.lane * kCount;
    double2 sum = make_double2(0, 0);
    for (int64_t p = at.begin; p < at.end; p += kBatch * s.rows) {
      float v[kBatch][kCount] = {};
#pragma unroll
      for (int k = 0; k < kBatch; ++k)
        if (p + k * s.rows < at.end) read(from + (p + k * s.rows) * s.channels, v[k]);
#pragma unroll
      for (int k = 0; k < kBatch; ++k)
#pragma unroll
        for (int i = 0; i < kCount; ++i) add(sum, make_double2(v[k][i], double{v[k][i]} * v[k][i]));
    }
    __syncthreads();  // those of the block before may still be read
    of_threads[threadIdx.x] = sum;
    __syncthreads();
    if (static_cast<int>(threadIdx.x) >= s.tile_lanes || at.lane >= s.lanes) continue;
    for (int row = 1; row < s.rows; ++row) add(sum, of_threads[row * s.tile_lanes + static_cast<int>(threadIdx.x)]);
    sums[at.part * s.lanes + at.lane] = sum;
  }
}

// Mean and 1 / sqrt(variance + eps): (images, groups).
__global__ void __launch_bounds__(kGroupThreads)
    finish_groups(const Shape s, const double2* sums, double eps, float2* moments) {
  __shared__ double2 of_warps[kGroupThreads / kWarp];
  const int64_t lanes = s.lanes / s.groups;
  for (int64_t group = blockIdx.x; group < s.images * s.groups; group += gridDim.x) {
    const double2* of_group = sums + group / s.groups * s.chunks * s.lanes + group % s.groups * lanes;
    double2 sum = make_double2(0, 0);
    for (int64_t chunk = threadIdx.x; chunk < s.chunks; chunk += kGroupThreads)
#pragma unroll 4
      for (int64_t lane = 0; lane < lanes; ++lane) add(sum, of_group[chunk * s.lanes + lane]);
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
      add(sum, make_double2(__shfl_xor_sync(kAllLanes, sum.x, offset), __shfl_xor_sync(kAllLanes, sum.y, offset)));
    __syncthreads();  // those of the group before may still be read
    if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = sum;
    __syncthreads();
    if (threadIdx.x != 0) continue;
    for (int w = 1; w < kGroupThreads / kWarp; ++w) add(sum, of_warps[w]);
    const double count = static_cast<double>(s.positions) * static_cast<double>(s.channels / s.groups);
    const double mean = sum.x / count, variance = fmax(sum.y / count - mean * mean, 0.0);
    moments[group] = make_float2(static_cast<float>(mean), static_cast<float>(1.0 / sqrt(variance + eps)));
  }
}

// Within some 1e-6: the exact quotient would cost more time than the memory does.
__device__ __forceinline__ float quick_silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

template <int kCount, class In, class Out>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce)
    apply(const Shape s, const GroupNormPass<In, Out> pass, const float2* moments) {
  for (int64_t block = blockIdx.x; block < s.blocks(); block += gridDim.x) {
    const Place at = place(s, block);
    if (at.begin >= at.end) continue;
    const int64_t channel = at.lane * kCount, first = at.image * s.positions * s.channels + channel;
    const float2 moment = moments[at.image * s.groups + channel / (s.channels / s.groups)];
    float weight[kCount], bias[kCount];
    read(pass.weight + channel, weight), read(pass.bias + channel, bias);
    for (int64_t p = at.begin; p < at.end; p += kBatch * s.rows) {
      float v[kBatch][kCount];
#pragma unroll
      for (int k = 0; k < kBatch; ++k)
        if (p + k * s.rows < at.end) read(pass.x + first + (p + k * s.rows) * s.channels, v[k]);
#pragma unroll
      for (int k = 0; k < kBatch; ++k) {
        if (p + k * s.rows >= at.end) continue;
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          v[k][i] = (v[k][i] - moment.x) * moment.y * weight[i] + bias[i];
          if (pass.silu) v[k][i] = quick_silu(v[k][i]);
        }
        write(pass.out + first + (p + k * s.rows) * s.channels, v[k]);
      }
    }
  }
}

template <int kCount, class In, class Out>
void launch(const GroupNormPass<In, Out>& pass) {
  const Shape s = shape_of(pass, kCount);
  auto* const sums = static_cast<double2*>(pass.scratch);
  auto* const moments = reinterpret_cast<float2*>(sums + s.images * s.chunks * s.lanes);
  start(sum_parts<kCount, In>, blocks_for(s.blocks()), kThreads, 0, s, pass.x, sums);
  start(finish_groups, blocks_for(s.images * s.groups), kGroupThreads, 0, s, sums, pass.eps, moments);
  start(apply<kCount, In, Out>, blocks_for(s.blocks()), kThreads, 0, s, pass, moments);
}

template <class T>
bool aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (kPack * sizeof(T)) == 0;
}

}  // namespace

bool built() { return true; }

template <class In, class Out>
void run(const GroupNormPass<In, Out>& pass) {
  if (pass.groups <= 0 || pass.channels % pass.groups != 0)
    throw std::invalid_argument("CUDA kernel: channels that do not fall into groups");
  if (reinterpret_cast<uintptr_t>(pass.scratch) % sizeof(double2) != 0)
    throw std::invalid_argument("CUDA kernel: scratch memory must lie at a multiple of 16");
  if (pass.images == 0 || pass.positions == 0 || pass.channels == 0) return;
  const bool packs = pass.channels / pass.groups % kPack == 0 && aligned(pass.x) && aligned(pass.weight) &&
                     aligned(pass.bias) && aligned(pass.out);
  packs ? launch<kPack>(pass) : launch<1>(pass);
}

template void run(const GroupNormPass<float, float>&);
template void run(const GroupNormPass<float, c10::BFloat16>&);
template void run(const GroupNormPass<c10::BFloat16, float>&);
template void run(const GroupNormPass<c10::BFloat16, c10::BFloat16>&);

}  // namespace crescendo::groups
