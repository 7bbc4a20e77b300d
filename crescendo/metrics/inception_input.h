// Picture -> what the FID Inception network takes, (3, 299, 299). Three ways are in use; their results do not compare.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "crescendo/core/enums.h"
#include "crescendo/image/image.h"

namespace crescendo {

inline constexpr int64_t kInceptionSide = 299;

enum class InceptionPreset {
  kTf,          // TensorFlow 1's bilinear on bytes, (x - 128) / 128: ADM, torch-fidelity, MAR, FAR
  kPytorchFid,  // PyTorch's bilinear on x / 255, 2 x - 1: pytorch-fid
  kClean,       // Pillow's bicubic with antialiasing, unrounded, clipped to 0..255, (x - 128) / 128: clean-fid
};
constexpr auto enum_table(InceptionPreset) {
  return std::array{EnumName{InceptionPreset::kTf, "tf"}, EnumName{InceptionPreset::kPytorchFid, "pytorch-fid"},
                    EnumName{InceptionPreset::kClean, "clean"}};
}

at::Tensor inception_input(const Image& image, InceptionPreset preset);  // (3, 299, 299) fp32

}  // namespace crescendo
