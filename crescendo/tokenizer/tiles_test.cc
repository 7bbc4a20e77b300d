#include "crescendo/tokenizer/tiles.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

// What decodes every cell alone does not see tiles, so the whole must come out, whatever sides and overlaps.
TEST(Tiles, ABlendOfEqualPicturesIsThePicture) {
  const auto enlarge = [](const Tensor& z) { return at::upsample_nearest2d(z, {3 * z.size(2), 3 * z.size(3)}); };
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{20, 31}, {8, 8}, {5, 40}, {9, 8}}) {
    const Tensor z = at::randn({2, 4, height, width});
    for (const Tiling& tiling : {Tiling{8, 2}, Tiling{7, 3}, Tiling{8, 1}}) {
      int64_t largest = 0;
      const Tensor out = decode_in_tiles(z, tiling, 3, [&](const Tensor& tile) {
        largest = std::max({largest, tile.size(2), tile.size(3)});
        return enlarge(tile);
      });
      EXPECT_LE(largest, tiling.side);
      EXPECT_LT(relative_l2(out, enlarge(z)), 1e-6) << height << " x " << width << ", tiles of " << tiling.side;
    }
  }
}

// No jump where a tile ends: a tile that decodes to its own number gives slopes from one number to the next.
TEST(Tiles, SeamsAreSlopes) {
  int64_t number = 0;
  const Tensor out = decode_in_tiles(at::zeros({1, 1, 4, 28}), {12, 4}, 2, [&](const Tensor& z) {
    return at::full({1, 1, 2 * z.size(2), 2 * z.size(3)}, static_cast<double>(number++));
  });
  EXPECT_EQ(number, 3);
  EXPECT_EQ(out[0][0][0][0].item<float>(), 0);
  EXPECT_EQ(out[0][0][7][55].item<float>(), 2);
  EXPECT_LT(out.diff(1, 3).abs().max().item<float>(), 0.2);
}

TEST(Tiles, WhatFitsIsDecodedAsItIs) {
  KlVaeConfig config = kl_vae_preset("shapes-64");
  config.base_channels = 8;
  config.norm_groups = 4;
  const auto vae = KlVae::random(config, 1);
  const at::NoGradGuard no_grad;
  const Tensor z = at::randn({1, 3, 8, 6});
  const auto decode = [&](const Tensor& latents) { return vae->decode(latents); };
  EXPECT_TRUE(at::equal(decode_in_tiles(z, {8, 2}, 4, decode), vae->decode(z)));
  EXPECT_CONTAINS(error_of([&] { decode_in_tiles(z, {8, 4}, 4, decode); }), "less than half the side");
}

}  // namespace
}  // namespace crescendo
