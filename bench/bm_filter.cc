// x -> x_i: both low-pass filters, one level for all images and one per image.
#include <ATen/ATen.h>

#include "bench/support.h"
#include "crescendo/spectral/lowpass.h"

namespace crescendo::bench {
namespace {

constexpr int64_t kBatch = 8, kLevel = 7;

// The definitions in LibTorch's own words (paper, equations 3 and 4).
Tensor plain(const Tensor& x, int64_t levels, FilterType type) {
  const int64_t height = x.size(2), width = x.size(3);
  if (type == FilterType::kSpatial) {
    const auto small = [&](int64_t n) { return (n * kLevel + levels - 1) / levels; };
    return at::upsample_bicubic2d(at::adaptive_avg_pool2d(x, {small(height), small(width)}), {height, width}, false);
  }
  const auto kept = [&](int64_t n) {
    const double bound = static_cast<double>(n * kLevel) / static_cast<double>(2 * levels) + 1e-9;
    return at::fft_fftfreq(n, 1.0 / static_cast<double>(n)).abs().le(bound);
  };
  const Tensor mask = kept(height).unsqueeze(1).logical_and(kept(width).unsqueeze(0));  // (H, W)
  return at::real(at::fft_ifft2(at::fft_fft2(x) * mask));
}

void filter(benchmark::State& state, const ModelConfig& m, FilterType type, bool per_image) {
  const Lowpass lowpass(m.latent_height, m.latent_width, m.levels, type);
  const Tensor x = randn({kBatch, m.latent_channels, m.latent_height, m.latent_width}, 7);
  const Tensor levels = at::full({kBatch}, kLevel, at::kLong);
  const auto run = [&] { return per_image ? lowpass(x, levels) : lowpass(x, kLevel); };
  if (!accept(state, relative_l2(run(), plain(x, m.levels, type)), 1e-5)) return;
  // Two products with a square matrix per channel.
  const double flop = 2.0 * static_cast<double>(x.numel() * (m.latent_height + m.latent_width));
  time(state, flop, 0, run);
}

BENCHMARK_CAPTURE(filter, far_b_spatial, far_b(), FilterType::kSpatial, false)->UseRealTime();
BENCHMARK_CAPTURE(filter, far_b_fourier, far_b(), FilterType::kFourier, false)->UseRealTime();
BENCHMARK_CAPTURE(filter, far_b_spatial_level_per_image, far_b(), FilterType::kSpatial, true)->UseRealTime();
BENCHMARK_CAPTURE(filter, shapes_64_spatial, shapes_64(), FilterType::kSpatial, false)->UseRealTime();

}  // namespace
}  // namespace crescendo::bench
