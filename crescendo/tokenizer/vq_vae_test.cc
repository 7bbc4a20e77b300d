#include "crescendo/tokenizer/vq_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/core/check.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

VqConfig tiny() {
  VqConfig c;
  c.sizes = kl_vae_preset("shapes-64");
  c.sizes.base_channels = 16;
  c.sizes.norm_groups = 4;
  c.sizes.latent_channels = 5;
  c.codes = 32;
  return c;
}

TEST(VqVae, EncodesToCodesAndDecodesThem) {
  const at::NoGradGuard no_grad;
  const auto vae = VqVae::random(tiny(), 1);
  const Tensor image = at::linspace(-1, 1, 2 * 3 * 16 * 24).view({2, 3, 16, 24});
  const Tensor codes = vae->encode(image);
  EXPECT_EQ(codes.sizes(), at::IntArrayRef({2, 4, 6}));
  EXPECT_EQ(codes.scalar_type(), at::kLong);
  EXPECT_EQ(vae->decode(codes).sizes(), image.sizes());
  // A picture's codes do not depend on its batch.
  EXPECT_TRUE(at::equal(vae->encode(image.slice(0, 1)), codes.slice(0, 1)));
  // A vector of the codebook is its own nearest.
  EXPECT_TRUE(at::equal(vae->codes_of(vae->vectors_of(codes)), codes));
  EXPECT_NEAR((at::linalg_vector_norm(vae->vectors(image), 2, {1}) - 1).abs().max().item<double>(), 0, 1e-5);
}

TEST(VqVae, SavedAndLoaded) {
  const at::NoGradGuard no_grad;
  const test::TemporaryDirectory folder;
  const auto vae = VqVae::random(tiny(), 1);
  save_tokenizer(folder.path(), *vae);
  EXPECT_TRUE(is_vq_tokenizer_dir(folder.path()));
  const auto read = load_vq_tokenizer(folder.path());
  const Tensor image = at::linspace(-1, 1, 3 * 16 * 16).view({1, 3, 16, 16});
  EXPECT_TRUE(at::equal(read->encode(image), vae->encode(image)));
  EXPECT_TRUE(at::equal(read->decode(read->encode(image)), vae->decode(vae->encode(image))));
  EXPECT_EQ(read->config().codes, 32);
}

TEST(VqVae, RefusesWhatIsNoneOrDoesNotFit) {
  const test::TemporaryDirectory folder;
  save_tokenizer(folder / "kl", *KlVae::random(tiny().sizes, 1));
  save_tokenizer(folder / "vq", *VqVae::random(tiny(), 1));
  EXPECT_FALSE(is_vq_tokenizer_dir(folder / "kl"));
  EXPECT_NE(error_of([&] { load_vq_tokenizer(folder / "kl"); }).find("of kind kl-vae; here one of kind vq is needed"), std::string::npos);
  EXPECT_NE(error_of([&] { load_tokenizer(folder / "vq"); }).find("of kind vq; here one of kind kl-vae is needed"), std::string::npos);
  const auto vae = VqVae::random(tiny(), 1);
  EXPECT_NE(error_of([&] { vae->decode(at::full({1, 4, 4}, 32, at::kLong)); }).find("codes must be in 0..31, got 32"), std::string::npos);
  EXPECT_NE(error_of([&] { vae->decode(at::full({1, 4, 4}, -1, at::kLong)); }).find("got -1"), std::string::npos);
  EXPECT_NE(error_of([&] { vae->decode(at::zeros({1, 4, 4})); }).find("codes must be int64"), std::string::npos);
  VqConfig wrong = tiny();
  wrong.codes = 1;
  EXPECT_NE(error_of([&] { VqVae::random(wrong, 1); }).find("codes must be in 2.."), std::string::npos);
  TensorMap weights = vae->params().map();
  weights[kCodebookName] = weights[kCodebookName] * 3;
  EXPECT_NE(error_of([&] { VqVae::from(tiny(), weights, "file"); }).find("must have length 1"), std::string::npos);
}

// The paper's own figures (section 5.1): factor 16, 16,384 codes, and 16 channels.
TEST(VqVae, CompressionRatioOfEquations5And6) {
  KlVaeConfig sizes;
  ASSERT_EQ(sizes.factor(), 16);
  EXPECT_NEAR(compression_ratio(VqConfig{sizes, 16384}), 0.0023, 5e-5);
  EXPECT_NEAR(compression_ratio(sizes), 0.0833, 5e-5);
}

}  // namespace
}  // namespace crescendo
