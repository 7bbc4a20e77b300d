// Pictures: 8-bit RGB in memory, PNG, JPEG and WebP on disk, and tensors (3, H, W) in [-1, 1] between the two.
//
// Whatever a file holds becomes RGB as Pillow's convert("RGB") makes it, because the published numbers come through
// Pillow: alpha is dropped (not blended), CMYK is multiplied out, 16-bit colour keeps its high byte, 16-bit grey is
// clipped to 255, and an EXIF rotation is left alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace crescendo {

using at::Tensor;

struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> rgb;  // (height, width, 3)

  Image() = default;
  Image(int64_t w, int64_t h) : width(w), height(h), rgb(static_cast<size_t>(w * h * 3)) {}
  uint8_t* pixel(int64_t x, int64_t y) { return rgb.data() + (y * width + x) * 3; }
  const uint8_t* pixel(int64_t x, int64_t y) const { return rgb.data() + (y * width + x) * 3; }
  bool operator==(const Image&) const = default;
};

// More pixels than this are refused, so that a small hostile file cannot fill the memory.
constexpr int64_t kMaxImagePixels = int64_t{1} << 27;

// PNG, JPEG or WebP, told apart by their first bytes. `name` names the picture in errors; a truncated picture is an
// error.
Image decode_image(std::string_view bytes, const std::string& name);
Image read_image(const std::filesystem::path& path);

// Keyword and text pairs of a PNG, both UTF-8. Text within Latin-1 is stored as tEXt, which every reader knows, other
// text as iTXt.
using PngText = std::vector<std::pair<std::string, std::string>>;

std::string encode_png(const Image& image, const PngText& text = {});
void write_png(const std::filesystem::path& path, const Image& image, const PngText& text = {});  // atomic
PngText decode_png_text(std::string_view bytes, const std::string& name);
PngText read_png_text(const std::filesystem::path& path);

Tensor image_to_bytes(const Image& image);   // (3, H, W) uint8
Tensor from_bytes(const Tensor& bytes);      // any shape of uint8 -> fp32 in [-1, 1]: x / 127.5 - 1
Tensor image_to_tensor(const Image& image);  // (3, H, W), from_bytes() of it
// (3, H, W) or (1, 3, H, W): uint8, or floats as to_bytes() rounds them. Throws where one is not finite.
Image tensor_to_image(const Tensor& tensor);
// round(clip((x + 1) / 2 * 255)) as uint8, any shape; how the published samples were quantised.
Tensor to_bytes(const Tensor& x);

}  // namespace crescendo
