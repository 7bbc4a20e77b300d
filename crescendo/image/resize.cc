#include "crescendo/image/resize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

constexpr int kPrecisionBits = 22;  // 32 less 8 for the byte and 2 for the overshoot of a sum

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

double filter_support(Resampling filter) {
  switch (filter) {
    case Resampling::kBox:
      return 0.5;
    case Resampling::kBilinear:
      return 1;
    case Resampling::kBicubic:
      return 2;
    case Resampling::kLanczos:
      return 3;
  }
  fail("resize: filter ", static_cast<int>(filter), " is unknown");
}

double filter_value(Resampling filter, double x) {
  switch (filter) {
    case Resampling::kBox:
      return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Resampling::kBilinear:
      return std::max(0.0, 1 - std::abs(x));
    case Resampling::kBicubic: {  // Keys with a = -1/2
      constexpr double a = -0.5;
      x = std::abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
      return 0;
    }
    case Resampling::kLanczos:
      return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  fail("resize: filter ", static_cast<int>(filter), " is unknown");
}

// For each output position the first input position and the weights from there on.
struct Windows {
  std::vector<int64_t> first;
  std::vector<int64_t> count;
  std::vector<double> weights;  // (out, taps), of a sum of one
  int64_t taps = 0;
};

Windows make_windows(int64_t in, int64_t out, Resampling filter) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);  // reducing widens the window: that is the antialiasing
  const double support = filter_support(filter) * stretch;
  Windows w;
  w.taps = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  w.weights.assign(static_cast<size_t>(out * w.taps), 0);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t count = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in) - first;
    double* weight = w.weights.data() + i * w.taps;
    double sum = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double position = (static_cast<double>(k + first) - centre + 0.5) * (1.0 / stretch);
      sum += weight[k] = filter_value(filter, position);
    }
    if (sum != 0)
      for (int64_t k = 0; k < count; ++k) weight[k] /= sum;
    w.first.push_back(first);
    w.count.push_back(count);
  }
  return w;
}

// Weights as Pillow multiplies bytes with them: rounded to kPrecisionBits binary places.
std::vector<int32_t> fixed_point(const std::vector<double>& weights) {
  std::vector<int32_t> out;
  out.reserve(weights.size());
  for (const double w : weights) out.push_back(static_cast<int32_t>(w * (1 << kPrecisionBits) + (w < 0 ? -0.5 : 0.5)));
  return out;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

Image resample_rows(const Image& image, int64_t width, Resampling filter) {
  const Windows w = make_windows(image.width, width, filter);
  const std::vector<int32_t> weights = fixed_point(w.weights);
  Image out(width, image.height);
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const auto i = static_cast<size_t>(x);
      const uint8_t* in = image.pixel(w.first[i], y);
      const int32_t* weight = weights.data() + x * w.taps;
      int32_t r = kHalf, g = kHalf, b = kHalf;
      for (int64_t k = 0; k < w.count[i]; ++k, in += 3) {
        r += in[0] * weight[k];
        g += in[1] * weight[k];
        b += in[2] * weight[k];
      }
      uint8_t* p = out.pixel(x, y);
      p[0] = to_byte(r);
      p[1] = to_byte(g);
      p[2] = to_byte(b);
    }
  }
  return out;
}

Image resample_columns(const Image& image, int64_t height, Resampling filter) {
  const Windows w = make_windows(image.height, height, filter);
  const std::vector<int32_t> weights = fixed_point(w.weights);
  Image out(image.width, height);
  std::vector<int32_t> sums(static_cast<size_t>(image.width * 3));
  for (int64_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int64_t k = 0; k < w.count[static_cast<size_t>(y)]; ++k) {
      const uint8_t* in = image.pixel(0, w.first[static_cast<size_t>(y)] + k);
      const int32_t weight = weights[static_cast<size_t>(y * w.taps + k)];
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += in[i] * weight;
    }
    uint8_t* p = out.pixel(0, y);
    for (size_t i = 0; i < sums.size(); ++i) p[i] = to_byte(sums[i]);
  }
  return out;
}

// Along the last axis of (..., in) fp32: sums in double, in the order of the input, rounded to fp32.
Tensor resample_last(const Tensor& x, int64_t out_size, Resampling filter) {
  const int64_t in = x.size(-1);
  const Windows w = make_windows(in, out_size, filter);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out_size;
  const Tensor from = x.contiguous();
  Tensor out = at::empty(shape, at::kFloat);
  const float* row = from.data_ptr<float>();
  float* p = out.data_ptr<float>();
  for (int64_t r = 0; r < from.numel() / in; ++r, row += in) {
    for (int64_t i = 0; i < out_size; ++i) {
      const double* weight = w.weights.data() + i * w.taps;
      const float* values = row + w.first[static_cast<size_t>(i)];
      double sum = 0;
      for (int64_t k = 0; k < w.count[static_cast<size_t>(i)]; ++k) sum += static_cast<double>(values[k]) * weight[k];
      *p++ = static_cast<float>(sum);
    }
  }
  return out;
}

void check_sizes(const Image& image, int64_t width, int64_t height) {
  check(image.width > 0 && image.height > 0, "resize: the picture is empty");
  check(width > 0 && height > 0 && width <= kMaxImagePixels / height, "resize: cannot make ", width, " x ", height,
        " pixels");
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height, Resampling filter) {
  check_sizes(image, width, height);
  Image out = width == image.width ? image : resample_rows(image, width, filter);
  return height == image.height ? out : resample_columns(out, height, filter);
}

Tensor resize_unrounded(const Image& image, int64_t width, int64_t height, Resampling filter) {
  check_sizes(image, width, height);
  Tensor x = image_to_bytes(image).to(at::kFloat);  // (3, H, W)
  if (width != image.width) x = resample_last(x, width, filter);
  if (height != image.height) x = resample_last(x.transpose(1, 2), height, filter).transpose(1, 2);
  return x.contiguous();
}

Image centre_crop(const Image& image, int64_t size) {
  check(size > 0, "centre_crop: the size must be positive, got ", size);
  Image x = image;
  while (std::min(x.width, x.height) >= 2 * size) x = resize(x, x.width / 2, x.height / 2, Resampling::kBox);
  const double scale = static_cast<double>(size) / static_cast<double>(std::min(x.width, x.height));
  const auto scaled = [&](int64_t v) {  // nearbyint: Python's round() takes halves to the even number
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(v) * scale));
  };
  x = resize(x, scaled(x.width), scaled(x.height), Resampling::kBicubic);
  const int64_t left = (x.width - size) / 2, top = (x.height - size) / 2;
  Image out(size, size);
  for (int64_t y = 0; y < size; ++y)
    std::memcpy(out.pixel(0, y), x.pixel(left, top + y), static_cast<size_t>(size * 3));
  return out;
}

Image flip_horizontally(const Image& image) {
  Image out(image.width, image.height);
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x) std::memcpy(out.pixel(x, y), image.pixel(image.width - 1 - x, y), 3);
  return out;
}

Tensor flip_horizontally(const Tensor& image) { return image.flip({-1}); }

}  // namespace crescendo
