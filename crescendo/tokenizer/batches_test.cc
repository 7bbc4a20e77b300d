#include "crescendo/tokenizer/batches.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

std::unique_ptr<KlVae> tiny_vae() {
  KlVaeConfig config = kl_vae_preset("shapes-64");
  config.base_channels = 8;
  config.norm_groups = 4;
  return KlVae::random(config, 1);
}

TEST(Batches, AreTheWholeInParts) {
  const at::NoGradGuard no_grad;
  const auto vae = tiny_vae();
  const Tensor images = at::rand({11, 3, 8, 12}), latents = at::randn({11, 3, 2, 3});
  EXPECT_LT(relative_l2(encode_in_batches(*vae, images), vae->encode_moments(images)), 1e-6);
  EXPECT_LT(relative_l2(decode_in_batches(*vae, latents, /*tile=*/0), vae->decode(latents)), 1e-6);
  const Tensor wide = at::randn({1, 3, 4, 12});
  EXPECT_EQ(decode_in_batches(*vae, wide, /*tile=*/4).sizes(), (at::IntArrayRef{1, 3, 16, 48}));
}

TEST(Batches, RefuseNothingAndWhatComesOutNotFinite) {
  const auto vae = tiny_vae();
  Tensor latents = at::zeros({9, 3, 2, 2});
  latents[8][0][0][0] = INFINITY;
  EXPECT_CONTAINS(error_of([&] { decode_in_batches(*vae, latents, 0); }), "NaN or infinity of row 8");
  EXPECT_CONTAINS(error_of([&] { encode_in_batches(*vae, at::zeros({0, 3, 8, 8})); }), "at least one row");
}

}  // namespace
}  // namespace crescendo
