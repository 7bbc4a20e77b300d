#include "crescendo/image/resize.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"
#include "tests/support.h"

namespace crescendo {
namespace {

Image random_image(int64_t width, int64_t height) {
  Image image(width, height);
  Rng rng(1, Draw::kOther);
  for (auto& v : image.rgb) v = static_cast<uint8_t>(rng.below(256));
  return image;
}

TEST(Resize, ConstantStaysConstant) {
  Image image(37, 23);
  std::fill(image.rgb.begin(), image.rgb.end(), uint8_t{201});
  for (const Resampling filter :
       {Resampling::kBox, Resampling::kBilinear, Resampling::kBicubic, Resampling::kLanczos}) {
    for (const auto& [width, height] : {std::pair{5, 60}, std::pair{80, 9}, std::pair{37, 23}}) {
      const Image out = resize(image, width, height, filter);
      EXPECT_EQ(out.width, width);
      EXPECT_EQ(out.height, height);
      EXPECT_TRUE(std::all_of(out.rgb.begin(), out.rgb.end(), [](uint8_t v) { return v == 201; }));
    }
  }
}

TEST(Resize, BoxHalvesToRoundedMeans) {
  Image image(4, 2);
  const std::vector<uint8_t> row = {0, 1, 10, 20};
  for (int64_t x = 0; x < 4; ++x)
    for (int64_t y = 0; y < 2; ++y)
      for (int64_t k = 0; k < 3; ++k) image.pixel(x, y)[k] = row[static_cast<size_t>(x)];
  const Image out = resize(image, 2, 1, Resampling::kBox);
  EXPECT_EQ(*out.pixel(0, 0), 1);  // 0.5 rounds up
  EXPECT_EQ(*out.pixel(1, 0), 15);
}

// By hand: enlarging 0, 255 twice with Keys' kernel at quarter positions gives overshoot that is clipped, and weights
// that are normalised at the borders.
TEST(Resize, BicubicEdge) {
  Image image(2, 1);
  std::fill_n(image.pixel(1, 0), 3, uint8_t{255});
  const Image out = resize(image, 4, 1, Resampling::kBicubic);
  const auto kernel = [](double x) {
    x = std::abs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : (((x - 5) * x + 8) * x - 4) * -0.5;
  };
  for (int64_t i = 0; i < 4; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) / 2;
    const double a = kernel(0.5 - centre), b = kernel(1.5 - centre);
    EXPECT_EQ(*out.pixel(i, 0), static_cast<int>(std::clamp(255 * b / (a + b), 0.0, 255.0) + 0.5)) << i;
  }
}

// Bytes are a picture's rounding of the same sums: half a level in each of two passes.
TEST(Resize, UnroundedIsTheSameButForRounding) {
  Image image(23, 17);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(60 + i * i % 130);
  for (const auto filter : {Resampling::kBox, Resampling::kBilinear, Resampling::kBicubic, Resampling::kLanczos}) {
    const Tensor exact = resize_unrounded(image, 9, 40, filter);
    ASSERT_EQ(exact.sizes(), at::IntArrayRef({3, 40, 9}));
    const Tensor bytes = image_to_bytes(resize(image, 9, 40, filter)).to(at::kFloat);
    EXPECT_LT((exact.clamp(0, 255) - bytes).abs().max().item<float>(), 1.3);
  }
  EXPECT_TRUE(resize_unrounded(image, 23, 17, Resampling::kLanczos).equal(image_to_bytes(image).to(at::kFloat)));
}

TEST(Crop, SizesAndMiddle) {
  for (const auto& [width, height] : {std::pair{64, 64}, std::pair{65, 200}, std::pair{300, 129}, std::pair{20, 31}}) {
    const Image out = centre_crop(random_image(width, height), 64);
    EXPECT_EQ(out.width, 64);
    EXPECT_EQ(out.height, 64);
  }
  const Image image = random_image(64, 64);
  EXPECT_EQ(centre_crop(image, 64), image);
  // 66 columns of a picture that is not scaled: one is cut from either side.
  const Image wide = random_image(66, 64);
  const Image cut = centre_crop(wide, 64);
  EXPECT_EQ(cut.pixel(0, 5)[1], wide.pixel(1, 5)[1]);
  EXPECT_EQ(cut.pixel(63, 5)[1], wide.pixel(64, 5)[1]);
  EXPECT_THROW(centre_crop(Image(), 64), Error);
}

TEST(Flip, TwiceIsNothing) {
  const Image image = random_image(5, 4);
  const Image flipped = flip_horizontally(image);
  EXPECT_NE(flipped, image);
  EXPECT_EQ(flipped.pixel(0, 2)[1], image.pixel(4, 2)[1]);
  EXPECT_EQ(flip_horizontally(flipped), image);
  EXPECT_TRUE(at::equal(flip_horizontally(image_to_bytes(image)), image_to_bytes(flipped)));
}

// Every byte of ADM's crop as Pillow computes it.
TEST(Crop, EqualsPillowOnPhotographs) {
  CRESCENDO_NEEDS_SHARED("fixtures/crop/expected.safetensors");
  CRESCENDO_NEEDS_SHARED("data/imagenet-sample/train");
  int compared = 0;
  const Safetensors file = read_safetensors(test::shared_path("fixtures/crop/expected.safetensors"));
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(test::shared_path("data/imagenet-sample/train"))) {
    const auto found = file.tensors.find("crop." + entry.path().filename().string());
    if (found == file.tensors.end()) continue;
    const Tensor ours = image_to_bytes(centre_crop(read_image(entry.path()), 256)).permute({1, 2, 0});  // (H, W, 3)
    EXPECT_TRUE(at::equal(ours, found->second)) << entry.path();
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(file.tensors.size()));
}

}  // namespace
}  // namespace crescendo
