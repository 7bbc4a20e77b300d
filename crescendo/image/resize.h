// From pictures of any size to squares, as the published models saw them.
//
// Resampling reproduces Pillow's 8-bit arithmetic bit for bit: antialiased windows, weights rounded to 22 binary
// places, a horizontal pass that is rounded to bytes before the vertical one.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "crescendo/core/enums.h"
#include "crescendo/image/image.h"

namespace crescendo {

enum class Resampling { kBox, kBilinear, kBicubic, kLanczos };
constexpr auto enum_table(Resampling) {
  return std::array{EnumName{Resampling::kBox, "box"}, EnumName{Resampling::kBilinear, "bilinear"},
                    EnumName{Resampling::kBicubic, "bicubic"}, EnumName{Resampling::kLanczos, "lanczos"}};
}

// Pillow's Image.resize((width, height), filter).
Image resize(const Image& image, int64_t width, int64_t height, Resampling filter);
// The same of each channel in Pillow's mode F: neither rounded nor clipped. (3, height, width) fp32, 0..255 and beyond.
Tensor resize_unrounded(const Image& image, int64_t width, int64_t height, Resampling filter);

// ADM's centre crop (Dhariwal and Nichol 2021), which FAR and MAR train and measure with: halve with a box while the
// shorter side is at least twice `size`, then bicubic until it is `size`, then cut the middle.
Image centre_crop(const Image& image, int64_t size);

Image flip_horizontally(const Image& image);
Tensor flip_horizontally(const Tensor& image);  // (..., H, W)

}  // namespace crescendo
