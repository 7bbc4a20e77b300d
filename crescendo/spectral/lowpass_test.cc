#include "crescendo/spectral/lowpass.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/torch_compat.h"
#include "crescendo/io/safetensors.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

// Everyone's x: deterministic noise, (B, C, H, W).
Tensor noise(at::IntArrayRef shape) { return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(7)); }

TEST(Lowpass, ConstantImageSurvivesEveryLevelFromOne) {
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    for (const auto& [height, width, levels] : {std::array<int64_t, 3>{16, 16, 16}, {8, 12, 5}, {7, 9, 7}, {3, 3, 1}}) {
      const Lowpass lowpass(height, width, levels, type);
      const Tensor x = at::full({2, 3, height, width}, 1.75);
      for (int64_t i = 1; i <= levels; ++i)
        EXPECT_LT((lowpass(x, i) - x).abs().max().item<double>(), 1e-5) << enum_name(type) << " level " << i;
    }
  }
}

TEST(Lowpass, LastLevelIsIdentityAndLevelZeroIsZero) {
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    const Lowpass lowpass(6, 10, 5, type);
    const Tensor x = noise({2, 3, 6, 10});
    EXPECT_TRUE(at::equal(lowpass(x, 5), x));
    EXPECT_TRUE(at::equal(lowpass(x, 0), at::zeros_like(x)));
    const Tensor ends = lowpass(x, at::tensor({5, 0}, at::kLong));
    EXPECT_TRUE(at::equal(ends[0], x[0]));
    EXPECT_TRUE(at::equal(ends[1], at::zeros_like(x[1])));
  }
}

// The definition in words, with LibTorch's own pooling and interpolation.
TEST(Lowpass, SpatialIsAdaptiveAverageThenBicubic) {
  for (const auto& [height, width, levels] : {std::array<int64_t, 3>{16, 16, 16}, {8, 12, 5}, {9, 7, 7}}) {
    const Lowpass lowpass(height, width, levels, FilterType::kSpatial);
    const Tensor x = noise({2, 3, height, width});
    for (int64_t i = 1; i < levels; ++i) {
      const int64_t h = (height * i + levels - 1) / levels, w = (width * i + levels - 1) / levels;
      const Tensor small = at::adaptive_avg_pool2d(x, {h, w});
      const Tensor expected = at::upsample_bicubic2d(small, {height, width}, /*align_corners=*/false);
      EXPECT_LT(relative_l2(lowpass(x, i), expected), 1e-5)
          << height << " x " << width << " level " << i << " of " << levels;
    }
  }
}

// Equation 4 literally: transform, keep the centred frequencies within the square of side i, transform back.
TEST(Lowpass, FourierIsTheMaskedTransform) {
  for (const auto& [height, width, levels] : {std::array<int64_t, 3>{16, 16, 16}, {8, 12, 5}, {9, 7, 7}}) {
    const Lowpass lowpass(height, width, levels, FilterType::kFourier);
    const Tensor x = noise({2, 3, height, width});
    const auto kept = [&levels = levels](int64_t n, int64_t i) {
      const Tensor u = at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::kDouble).abs();  // 0, 1, ..., n/2, ..., 1
      return u.le(static_cast<double>(n) / 2 * static_cast<double>(i) / static_cast<double>(levels) + 1e-9);
    };
    for (int64_t i = 1; i <= levels; ++i) {
      const Tensor mask = kept(height, i).unsqueeze(1).logical_and(kept(width, i).unsqueeze(0));  // (H, W)
      const Tensor back = at::fft_ifft2(at::fft_fft2(x.to(at::kDouble)) * mask);
      EXPECT_LT(at::imag(back).abs().max().item<double>(), 1e-12);  // what is kept is symmetric
      EXPECT_LT(relative_l2(lowpass(x, i), at::real(back)), 1e-5)
          << height << " x " << width << " level " << i << " of " << levels;
    }
  }
}

// An even side has its highest frequency once only: it passes at the last level and never before.
TEST(Lowpass, FourierStopsTheNyquistFrequencyBelowTheLastLevel) {
  const Lowpass lowpass(8, 8, 8, FilterType::kFourier);
  const Tensor stripes = (1 - 2 * (at::arange(8) % 2)).to(at::kFloat).expand({1, 1, 8, 8}).contiguous();  // + - + - ...
  for (int64_t i = 1; i < 8; ++i) EXPECT_LT(lowpass(stripes, i).abs().max().item<double>(), 1e-6) << i;
  EXPECT_TRUE(at::equal(lowpass(stripes, 8), stripes));
}

// A projection, so filtering twice changes nothing, and a lower level swallows a higher one.
TEST(Lowpass, FourierLevelsAreNested) {
  const Lowpass lowpass(16, 16, 16, FilterType::kFourier);
  const Tensor x = noise({1, 2, 16, 16});
  for (int64_t i = 1; i <= 16; i += 3)
    for (int64_t j = i; j <= 16; j += 5)
      EXPECT_LT(relative_l2(lowpass(lowpass(x, j), i), lowpass(x, i)), 1e-5) << i << " " << j;
}

// Coarse to fine: each level is nearer to the image than the one before it.
TEST(Lowpass, LevelsApproachTheImage) {
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    const Lowpass lowpass(16, 16, 4, type);
    const Tensor x = noise({8, 16, 16, 16});
    double before = relative_l2(lowpass(x, 0), x);
    EXPECT_DOUBLE_EQ(before, 1.0);
    for (int64_t i = 1; i <= 4; ++i) {
      const double now = relative_l2(lowpass(x, i), x);
      EXPECT_LT(now, before) << enum_name(type) << " level " << i;
      before = now;
    }
  }
}

TEST(Lowpass, OneLevelPerImageEqualsOneByOne) {
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    const Lowpass lowpass(12, 8, 6, type);
    const Tensor x = noise({7, 3, 12, 8});
    const Tensor mixed = lowpass(x, at::tensor({3, 0, 6, 1, 5, 2, 3}, at::kLong));
    int64_t b = 0;
    for (const int64_t level : {3, 0, 6, 1, 5, 2, 3}) {
      const Tensor alone = lowpass(x.slice(0, b, b + 1), level);
      EXPECT_LT((mixed[b] - alone[0]).abs().max().item<double>(), 1e-6) << enum_name(type) << " image " << b;
      ++b;
    }
  }
}

// Mixed precision is for a network's products.
TEST(Lowpass, IsInFp32InEveryMode) {
  for (const FilterType type : {FilterType::kSpatial, FilterType::kFourier}) {
    const Lowpass lowpass(12, 8, 6, type);
    const Tensor x = noise({2, 3, 12, 8}), levels = at::tensor({3, 5}, at::kLong), rounded = x.to(at::kBFloat16);
    const Tensor one = lowpass(x, 4), each = lowpass(x, levels);
    const Autocast autocast(at::kCPU, at::kBFloat16);
    EXPECT_TRUE(at::equal(lowpass(x, 4), one));
    EXPECT_TRUE(at::equal(lowpass(x, levels), each));
    EXPECT_LT(relative_l2(lowpass(rounded, 4), lowpass(rounded.to(at::kDouble), 4)), 1e-6);
  }
}

TEST(Lowpass, ErrorsNameTheBounds) {
  EXPECT_CONTAINS(test::error_of([] { Lowpass(8, 16, 9, FilterType::kSpatial); }), "levels must be in 1..8, got 9");
  EXPECT_CONTAINS(test::error_of([] { Lowpass(8, 8, 0, FilterType::kFourier); }), "got 0");
  const Lowpass lowpass(8, 8, 4, FilterType::kSpatial);
  const Tensor x = at::zeros({1, 1, 8, 8});
  EXPECT_CONTAINS(test::error_of([&] { lowpass(x, 5); }), "level must be in 0..4, got 5");
  EXPECT_CONTAINS(test::error_of([&] { lowpass(x, -1); }), "got -1");
}

TEST(Lowpass, MatchesThePublishedFilter) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const TensorMap expected = read_safetensors(test::shared_path("fixtures/far_micro/expected.safetensors")).tensors;
  const Tensor x = expected.at("filter.input"),
               levels = expected.at("filter.spatial");  // (2, 16, 16, 16), levels 1..15
  ASSERT_EQ(levels.size(0), 15);
  const Lowpass lowpass(16, 16, 16, FilterType::kSpatial);
  for (int64_t i = 1; i <= 15; ++i) {
    EXPECT_LT(relative_l2(lowpass(x, i), levels[i - 1]), 1e-5) << "level " << i;
    EXPECT_LT(relative_l2(lowpass(x, at::full({2}, i, at::kLong)), levels[i - 1]), 1e-5) << "level " << i;
  }
}

}  // namespace
}  // namespace crescendo
