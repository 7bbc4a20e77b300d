#include "crescendo/metrics/inception_input.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/image/resize.h"

namespace crescendo {

namespace {

// Where an output position lies between two input positions: TensorFlow 1 without align_corners and without the half
// pixel of later versions, in fp32. The file is compiled without fused multiply-add, so that every number is the same.
struct Between {
  int64_t low, high;
  float part;  // of `high`
};

std::vector<Between> positions(int64_t in) {
  const float scale = static_cast<float>(in) / static_cast<float>(kInceptionSide);
  std::vector<Between> out;
  for (int64_t i = 0; i < kInceptionSide; ++i) {
    const float at = static_cast<float>(i) * scale;
    const auto low = static_cast<int64_t>(at);
    out.push_back({low, std::min(low + 1, in - 1), at - static_cast<float>(low)});
  }
  return out;
}

at::Tensor tf_input(const Image& image) {
  const std::vector<Between> columns = positions(image.width), rows = positions(image.height);
  at::Tensor out = at::empty({3, kInceptionSide, kInceptionSide}, at::kFloat);
  constexpr int64_t plane = kInceptionSide * kInceptionSide;
  float* p = out.data_ptr<float>();
  for (const Between& y : rows) {
    const uint8_t *upper = image.pixel(0, y.low), *lower = image.pixel(0, y.high);
    for (const Between& x : columns) {
      for (int64_t c = 0; c < 3; ++c) {
        const auto mixed = [&](const uint8_t* row) {
          const float left = row[3 * x.low + c], right = row[3 * x.high + c];
          return left + (right - left) * x.part;
        };
        const float top = mixed(upper), bottom = mixed(lower);
        p[c * plane] = (top + (bottom - top) * y.part - 128.0f) / 128.0f;
      }
      ++p;
    }
  }
  return out;
}

at::Tensor pytorch_fid_input(const Image& image) {
  const at::Tensor x = image_to_bytes(image).to(at::kFloat).div_(255.0).unsqueeze(0);
  return at::upsample_bilinear2d(x, {kInceptionSide, kInceptionSide}, /*align_corners=*/false)
      .squeeze(0)
      .mul_(2)
      .sub_(1);
}

at::Tensor clean_input(const Image& image) {
  return resize_unrounded(image, kInceptionSide, kInceptionSide, Resampling::kBicubic)
      .clamp_(0, 255)
      .sub_(128)
      .div_(128);
}

}  // namespace

at::Tensor inception_input(const Image& image, InceptionPreset preset) {
  check(image.width > 0 && image.height > 0, "inception: the picture is empty");
  switch (preset) {
    case InceptionPreset::kTf:
      return tf_input(image);
    case InceptionPreset::kPytorchFid:
      return pytorch_fid_input(image);
    case InceptionPreset::kClean:
      return clean_input(image);
  }
  fail("inception: preset ", static_cast<int>(preset), " is unknown");
}

}  // namespace crescendo
