#include "crescendo/tokenizer/kl_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

// Without gradients layers work in place, channels last, and on a GPU by a kernel of the program's own.
constexpr bool kWithGradientsAndWithout[] = {true, false};

Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  Tensor t = at::empty(shape);
  Rng(seed, Draw::kOther).fill_normal({t.data_ptr<float>(), static_cast<size_t>(t.numel())});
  return t;
}

// The published layout, made small: attention at the last of three levels, factor 4.
KlVaeConfig small_config() {
  KlVaeConfig c;
  c.base_channels = 8;
  c.multipliers = {1, 1, 2};
  c.residual_blocks = 1;
  c.latent_channels = 2;
  c.attention_levels = {2};
  c.norm_groups = 4;
  c.latent_scale = 0.5;
  return c;
}

TEST(KlVae, PublishedSizes) {
  // The names and shapes of the published kl16.ckpt, spot-checked.
  const auto vae = KlVae::random(kl_vae_preset("kl16"), 0);
  const TensorMap map = vae->params().map();
  EXPECT_EQ(vae->config().factor(), 16);
  EXPECT_EQ(map.at("encoder.down.4.attn.1.proj_out.weight").sizes(), at::IntArrayRef({512, 512, 1, 1}));
  EXPECT_EQ(map.at("encoder.down.2.block.0.nin_shortcut.weight").sizes(), at::IntArrayRef({256, 128, 1, 1}));
  EXPECT_EQ(map.at("decoder.up.4.block.2.conv2.bias").sizes(), at::IntArrayRef({512}));
  EXPECT_EQ(map.at("decoder.up.1.upsample.conv.weight").sizes(), at::IntArrayRef({128, 128, 3, 3}));
  EXPECT_EQ(map.at("quant_conv.weight").sizes(), at::IntArrayRef({32, 32, 1, 1}));
  EXPECT_FALSE(map.contains("decoder.up.4.attn.0.q.weight"));
  EXPECT_FALSE(map.contains("encoder.down.4.downsample.conv.weight"));
}

// 0.25 TFLOP for a 256 x 256 image, by an independent count of the published decoder's layers.
TEST(KlVae, DecodeFlop) {
  const auto vae = KlVae::random(kl_vae_preset("kl16"), 0);
  EXPECT_NEAR(vae->decode_flop(16, 16) / 1e12, 0.25, 0.005);
  // The smallest: 1x1 of 2 x 2 and 3x3 of 2 -> 8, twice 8 -> 8 in each of two blocks, 8 -> 48, at 3 x 5 positions.
  KlVaeConfig c = kl_vae_preset("shapes-64");
  c.base_channels = 8;
  c.latent_channels = 2;
  c.norm_groups = 4;
  const double macs = 2 * 2 + 9 * (2 * 8 + 4 * 8 * 8 + 8 * 48);
  EXPECT_EQ(KlVae::random(c, 0)->decode_flop(3, 5), 2 * 15 * macs);
}

// Convolutions in bf16 round; pictures of 8 bits hardly see it.
TEST(KlVae, DecodesInBf16) {
  const auto vae = KlVae::random(small_config(), 1);
  const Tensor z = noise({2, 2, 3, 2}, 3), exact = vae->decode_latent(z);
  for (const bool gradients : kWithGradientsAndWithout) {
    const at::AutoGradMode mode(gradients);
    const Tensor got = vae->decode_latent(z, at::kBFloat16);
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    EXPECT_GT(test::relative_l2(got, exact), 1e-5);
    // A processor that does not multiply in bf16 adds up in it, too: 0.046 on one with AVX2.
    EXPECT_LT(test::relative_l2(got, exact), cpu_has_bf16() ? 2e-2 : 0.1);
  }
}

TEST(KlVae, Shapes) {
  const auto vae = KlVae::random(small_config(), 1);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{8, 12}, {4, 4}}) {
    const Tensor moments = vae->encode_moments(noise({2, 3, height, width}, 1));
    EXPECT_EQ(moments.sizes(), at::IntArrayRef({2, 4, height / 4, width / 4}));
    EXPECT_EQ(vae->decode(posterior_mean(moments)).sizes(), at::IntArrayRef({2, 3, height, width}));
  }
  const auto unshuffled = KlVae::random(kl_vae_preset("shapes-64"), 1);
  EXPECT_EQ(unshuffled->encode_moments(noise({1, 3, 64, 64}, 1)).sizes(), at::IntArrayRef({1, 6, 16, 16}));
  EXPECT_LT(unshuffled->params().count(), 300'000);
}

TEST(KlVae, DecoderMayBeDeeperThanTheEncoder) {
  KlVaeConfig c = kl_vae_preset("shapes-64");
  const auto blocks_up = [](const KlVaeConfig& config) {
    int64_t count = 0;
    while (KlVae::random(config, 0)->params().map().contains(concat("decoder.up.0.block.", count, ".conv1.weight")))
      ++count;
    return count;
  };
  EXPECT_EQ(blocks_up(c), 2);  // one more than the encoder, as published
  c.decoder_blocks = 5;
  EXPECT_EQ(blocks_up(c), 5);
  EXPECT_FALSE(KlVae::random(c, 0)->params().map().contains("encoder.down.0.block.1.conv1.weight"));
}

TEST(KlVae, WrongInputsAreNamed) {
  const auto vae = KlVae::random(small_config(), 1);
  EXPECT_CONTAINS(test::error_of([&] { vae->encode_moments(at::zeros({1, 3, 8, 10})); }), "multiples of 4, got 8 x 10");
  EXPECT_CONTAINS(test::error_of([&] { vae->encode_moments(at::zeros({1, 1, 8, 8})); }), "(B, 3, H, W)");
  EXPECT_CONTAINS(test::error_of([&] { vae->encode_moments(at::zeros({1, 3, 8, 8}, at::kByte)); }), "floats");
  EXPECT_CONTAINS(test::error_of([&] { vae->decode(at::zeros({1, 3, 2, 2})); }), "(B, 2, h, w)");
  EXPECT_CONTAINS(test::error_of([&] { vae->decode(at::zeros({1, 2, 0, 2})); }), "sides of 1 or more");
  EXPECT_CONTAINS(test::error_of([&] { vae->to_latent(at::zeros({1, 4, 2, 2}), at::zeros({1, 4, 2, 2})); }), "noise");
}

TEST(KlVae, ConfigsThatCannotBe) {
  KlVaeConfig c = small_config();
  c.norm_groups = 3;
  EXPECT_CONTAINS(test::usage_error_of([&] { c.validate(); }), "norm groups");
  c = small_config();
  c.decoder_blocks = -1;
  EXPECT_CONTAINS(test::usage_error_of([&] { c.validate(); }), "decoder_blocks must be at least 0, got -1");
  c = small_config();
  c.attention_levels = {3};
  EXPECT_CONTAINS(test::usage_error_of([&] { c.validate(); }), "0..2, got 3");
  EXPECT_CONTAINS(test::usage_error_of([] { kl_vae_preset("kl17"); }), "kl16, shapes-64");
}

// Each image of a batch by itself gives what the batch gives: nothing mixes images.
TEST(KlVae, ImagesAreIndependent) {
  const auto vae = KlVae::random(small_config(), 2);
  const Tensor x = noise({3, 3, 8, 8}, 3);
  EXPECT_LT(relative_l2(vae->encode_moments(x.slice(0, 1, 2)), vae->encode_moments(x).slice(0, 1, 2)), 1e-5);
}

TEST(KlVae, ScaleIsAppliedOnce) {
  const auto vae = KlVae::random(small_config(), 3);
  const Tensor moments = noise({1, 4, 2, 2}, 4), n = noise({1, 2, 2, 2}, 5);
  EXPECT_LT(relative_l2(vae->to_latent(moments), posterior_mean(moments) * 0.5), 1e-6);
  EXPECT_LT(relative_l2(vae->to_latent(moments, n), sample_posterior(moments, n) * 0.5), 1e-6);
  EXPECT_LT(relative_l2(vae->decode_latent(vae->to_latent(moments)), vae->decode(posterior_mean(moments))), 1e-6);
}

TEST(Posterior, SampleAndClamp) {
  Tensor moments = at::zeros({1, 2, 1, 3});
  moments[0][0].copy_(at::tensor({1.0, 2.0, 3.0}));
  moments[0][1].copy_(at::tensor({std::log(4.0), -1000.0, 1000.0}));
  const Tensor z = sample_posterior(moments, at::full({1, 1, 1, 3}, 0.5));
  EXPECT_NEAR(z[0][0][0][0].item<double>(), 1 + 0.5 * 2, 1e-6);
  EXPECT_NEAR(z[0][0][0][1].item<double>(), 2, 1e-6);  // std exp(-15)
  EXPECT_NEAR(z[0][0][0][2].item<double>(), 3 + 0.5 * std::exp(10.0), 1e-1);
}

TEST(Posterior, KlDivergence) {
  // KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s.
  Tensor moments = at::zeros({2, 2, 1, 2});
  moments[1][0].copy_(at::tensor({0.7, -1.5}));
  moments[1][1].copy_(at::tensor({2 * std::log(0.3), 2 * std::log(2.0)}));
  const auto expected = [](double m, double s) { return (m * m + s * s - 1) / 2 - std::log(s); };
  const Tensor kl = kl_divergence(moments);
  ASSERT_EQ(kl.sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(kl[0].item<double>(), 0);
  EXPECT_NEAR(kl[1].item<double>(), expected(0.7, 0.3) + expected(-1.5, 2.0), 1e-5);
}

// What PyTorch's definition of the residual block says, written out with the functional operators.
TEST(ResidualBlock, MatchesItsDefinition) {
  Params params = Params::random(4);
  const ResidualBlock block(params, 4, 8, 2);
  const Tensor x = noise({2, 4, 5, 5}, 6);
  const TensorMap p = params.map();
  Tensor h = at::silu(at::group_norm(x, 2, p.at("norm1.weight"), p.at("norm1.bias"), 1e-6));
  h = at::conv2d(h, p.at("conv1.weight"), p.at("conv1.bias"), 1, 1);
  h = at::silu(at::group_norm(h, 2, p.at("norm2.weight"), p.at("norm2.bias"), 1e-6));
  h = at::conv2d(h, p.at("conv2.weight"), p.at("conv2.bias"), 1, 1);
  h = h + at::conv2d(x, p.at("nin_shortcut.weight"), p.at("nin_shortcut.bias"));
  for (const bool gradients : kWithGradientsAndWithout) {
    const at::AutoGradMode mode(gradients);
    EXPECT_LT(relative_l2(block(x), h), 1e-6);
  }
}

// Stride 2 pads right and bottom only: the first output sees the first pixel at the kernel's top left corner.
TEST(Conv2d, StrideTwoPadsRightAndBottom) {
  Params params = Params::random(5);
  Conv2d conv(params, 1, 1, 3, 2);
  conv.weight.zero_();
  conv.weight[0][0][0][0] = 1;
  const Tensor x = at::arange(16, at::kFloat).view({1, 1, 4, 4});
  EXPECT_LT(relative_l2(conv(x), at::tensor({0.0, 2.0, 8.0, 10.0}).view({1, 1, 2, 2})), 1e-6);
}

TEST(Conv2d, RunsInAnotherTypeWhileAsked) {
  Params params = Params::random(6);
  const Conv2d conv(params, 4, 4, 3);
  const Tensor x = noise({1, 4, 8, 8}, 7), exact = conv(x);
  {
    const ConvolutionDtype bf16(at::kBFloat16);
    const Tensor rounded = conv(x);
    EXPECT_EQ(rounded.scalar_type(), at::kFloat);
    EXPECT_LT(relative_l2(rounded, exact), 2e-2);
    EXPECT_GT(relative_l2(rounded, exact), 1e-5);
  }
  EXPECT_EQ(relative_l2(conv(x), exact), 0);
}

TEST(TokenizerFolder, RoundTrip) {
  const test::TemporaryDirectory folder;
  const auto vae = KlVae::random(small_config(), 8);
  save_tokenizer(folder / "t", *vae, {{"note", 1}});
  const auto read = load_tokenizer(folder / "t");
  EXPECT_TRUE(fields_equal(read->config(), vae->config()));
  for (const auto& [name, tensor] : vae->params().items())
    EXPECT_TRUE(at::equal(read->params().map().at(name), tensor)) << name;
  const Tensor x = noise({1, 3, 8, 8}, 9);
  EXPECT_TRUE(at::equal(read->encode_moments(x), vae->encode_moments(x)));
  EXPECT_EQ(load_tokenizer(folder / "t", at::kCPU, at::kBFloat16)->encode_moments(x).scalar_type(), at::kFloat);
}

TEST(TokenizerFolder, FilesThatDoNotFit) {
  const test::TemporaryDirectory folder;
  const auto path = folder / "t";
  auto vae = KlVae::random(small_config(), 8);
  save_tokenizer(path, *vae);
  Json config = read_json(path / "config.json");
  config["latent_scale"] = 0.75;
  write_json(path / "config.json", config);
  EXPECT_CONTAINS(test::error_of([&] { load_tokenizer(path); }), "do not belong together");
  config["latent_scale"] = 0.5;
  config["latent_channels"] = 3;
  write_json(path / "config.json", config);
  EXPECT_CONTAINS(test::error_of([&] { load_tokenizer(path); }), "quant_conv.weight has shape");
  config["latent_chanels"] = 3;
  write_json(path / "config.json", config);
  EXPECT_CONTAINS(test::error_of([&] { load_tokenizer(path); }), "did you mean 'latent_channels'");
  write_file_atomically(path / "config.json", "{}");
  EXPECT_CONTAINS(test::error_of([&] { load_tokenizer(path); }), "not a tokenizer's config");
  EXPECT_CONTAINS(test::error_of([&] { load_tokenizer(folder / "nowhere"); }), "nowhere");
}

TEST(KlVaeCheckpoint, SizesComeFromShapes) {
  KlVaeConfig published = small_config();  // whose group norms are always of 32 groups
  published.base_channels = published.norm_groups = 32;
  KlVaeConfig deep = published;
  deep.decoder_blocks = 4;
  for (const KlVaeConfig& config : {kl_vae_preset("shapes-64"), published, deep}) {
    const auto vae = KlVae::random(config, 1);
    TensorMap weights = vae->params().map();
    weights["loss.perceptual_loss.dummy"] = at::zeros({3});
    KlVaeConfig read = kl_vae_config_from(weights, "weights");
    read.norm_groups = config.norm_groups;  // these two leave no trace
    read.latent_scale = config.latent_scale;
    EXPECT_EQ(value_to_json(read), value_to_json(config));
    EXPECT_NO_THROW(KlVae::from(config, weights, "weights"));
    weights["surplus"] = at::zeros({3});
    EXPECT_CONTAINS(test::error_of([&] { KlVae::from(config, weights, "weights"); }), "surplus");
  }
  EXPECT_CONTAINS(test::error_of([] { kl_vae_from_checkpoint({}, "a.ckpt"); }), "a.ckpt is no KL-VAE");
  // Channels that no published group norm takes are the file's fault, not that of a command line.
  try {
    kl_vae_from_checkpoint(KlVae::random(small_config(), 1)->params().map(), "a.ckpt");
    ADD_FAILURE() << "no error was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 1);
    EXPECT_CONTAINS(std::string(e.what()), "a.ckpt: tokenizer: 8 x 1 channels do not fall into 32 norm groups");
  }
}

TEST(KlVaeCheckpoint, MatchesPublishedCode) {
  CRESCENDO_NEEDS_SHARED("fixtures/vae_micro/kl16.ckpt");
  const auto file = test::shared_path("fixtures/vae_micro/kl16.ckpt");
  const auto vae = kl_vae_from_checkpoint(tensors_at(read_torch_file(file), "model", file.string()), file.string());
  const TensorMap expected = read_safetensors(test::shared_path("fixtures/vae_micro/expected.safetensors")).tensors;
  EXPECT_EQ(vae->config().multipliers, (std::vector<int64_t>{1, 1, 1, 1, 2}));
  EXPECT_EQ(vae->config().latent_scale, 0.2325);
  for (const bool gradients : kWithGradientsAndWithout) {
    const at::AutoGradMode mode(gradients);
    EXPECT_LT(relative_l2(vae->encode_moments(expected.at("image")), expected.at("moments")), 1e-5);
    EXPECT_LT(relative_l2(vae->decode(expected.at("latent")), expected.at("decoded")), 1e-5);
  }
}

}  // namespace
}  // namespace crescendo
