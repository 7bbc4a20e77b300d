// Group normalisation on a GPU of pictures whose channels lie last, with the activation behind it: what a decoder does
// between two convolutions, read twice and written once. Nothing stands for it on a CPU, where LibTorch's serves.
//
// A pass is plain data, as in row_passes.h, and runs on LibTorch's current stream. Sums are taken in double and always
// in the same order, so the same pass gives the same numbers each time.
#pragma once

#include <c10/core/Device.h>

#include <algorithm>
#include <cstdint>

namespace crescendo::groups {

// out = (x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance of each image over the positions and
// channels of a group; then out / (1 + exp(-out)) where `silu`. In and Out are fp32 or bf16.
template <class In, class Out>
struct GroupNormPass {
  int64_t images, positions, channels, groups;
  const In* x;                 // (images, positions, channels)
  const float *weight, *bias;  // (channels)
  double eps;
  bool silu;
  Out* out;       // (images, positions, channels), not x
  void* scratch;  // scratch_bytes(), at a multiple of 16
};

// Parts into which the positions of all images are divided at most, where there are not more images: four blocks for
// each of an H100's 132 processors, which all run at once.
inline constexpr int64_t kMostChunks = 528;

// Room for two sums in double of each part and channel, then for mean and factor of each image and group.
constexpr int64_t scratch_bytes(int64_t images, int64_t channels, int64_t groups) {
  return std::max(images, kMostChunks) * channels * 16 + images * groups * 8;
}

bool built();
// Whether the pass can run there: on a GPU where the program was built with its kernels.
bool serves(c10::Device device);

template <class In, class Out>
void run(const GroupNormPass<In, Out>& pass);

}  // namespace crescendo::groups
