#include "crescendo/train/tokenizer_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <fstream>

#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/support.h"

namespace crescendo {
namespace {

TokenizerTrainingOptions tiny_options() {
  TokenizerTrainingOptions o;
  o.tokenizer = kl_vae_preset("shapes-64");
  o.tokenizer.base_channels = 16;
  o.tokenizer.norm_groups = 4;
  o.image_side = 16;
  o.images = 320;
  o.batch = 8;
  o.lr = 4e-3;
  o.lr_schedule.warmup_images = 32;
  o.held_out = 8;
  o.scale_images = 16;
  o.log_images = 80;
  o.checkpoint_images = 160;
  return o;
}

TrainingImages shapes(int64_t count) {
  std::vector<std::unique_ptr<Dataset>> sets;
  sets.push_back(std::make_unique<ShapesDataset>(count, 1, 16));
  return {std::move(sets), 0};
}

// The derivative of the whole loss along a direction, against a central difference in double precision.
TEST(TokenizerLoss, GradientMatchesDifference) {
  KlVaeConfig config = tiny_options().tokenizer;
  config.base_channels = 4;
  config.norm_groups = 2;
  const auto vae = KlVae::random(config, 1);
  const Tensor x = at::zeros({2, 3, 8, 8}), noise = at::zeros({2, 3, 2, 2});
  Rng(1, Draw::kOther).fill_normal({x.data_ptr<float>(), static_cast<size_t>(x.numel())});
  Rng(2, Draw::kOther).fill_normal({noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});
  const TokenizerLossWeights weights{.l2 = 1.0, .l1 = 0.0, .kl = 0.5};
  vae->params().set_requires_grad(true);
  tokenizer_loss(*vae, x, noise, weights).total.backward();
  double slope = 0;
  std::vector<Tensor> directions;
  const at::NoGradGuard no_grad;
  for (const auto& [name, p] : vae->params().items()) {
    ASSERT_TRUE(p.grad().defined()) << name;
    EXPECT_GT(p.grad().abs().max().item<double>(), 0) << name;
    directions.push_back(at::empty_like(p, p.options().requires_grad(false)));
    Rng(directions.size(), Draw::kOther, 3)
        .fill_normal({directions.back().data_ptr<float>(), static_cast<size_t>(p.numel())});
    slope += (p.grad() * directions.back()).sum().item<double>();
  }
  const auto moved = [&](double h) {
    for (size_t i = 0; i < directions.size(); ++i) {
      Tensor p = vae->params().items()[i].second;
      p.add_(directions[i], h);
    }
    return tokenizer_loss(*vae, x, noise, weights).total.item<double>();
  };
  const double h = 1e-3, up = moved(h), down = moved(-2 * h);
  EXPECT_NEAR((up - down) / (2 * h), slope, 0.02 * std::abs(slope) + 1e-3);
}

TEST(VqTraining, LearnsAndUsesItsCodes) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  o.tokenizer.latent_channels = 8;
  o.codes = 64;
  o.images = 640;
  const auto vae = VqVae::random({o.tokenizer, o.codes}, 0);
  const TrainingImages images = shapes(64);
  const double before = reconstruction_quality(*vae, images, 56, 8).psnr;
  const TokenizerTrainingResult result = train_tokenizer(*vae, images, o, folder.path());
  EXPECT_TRUE(result.finished);
  EXPECT_GT(result.psnr, before + 3);
  EXPECT_GT(result.measures["perplexity"].get<double>(), 4) << "the codebook collapsed";
  EXPECT_NEAR(result.compression_ratio, 6.0 / (24 * 16), 1e-12);
  EXPECT_LT(result.measures["used_ratio"].get<double>(), result.compression_ratio);
  const auto read = load_vq_tokenizer(folder / "tokenizer");
  EXPECT_EQ(reconstruction_quality(*read, images, 56, 8).psnr, result.psnr);
}

// Straight-through: the encoder's gradient is that of the decoder's input, and the commitment's.
TEST(VqLoss, GradientReachesTheEncoderAndNotTheCodebook) {
  TokenizerTrainingOptions o = tiny_options();
  const auto vae = VqVae::random({o.tokenizer, 16}, 1);
  vae->params().set_requires_grad(true);
  const Tensor x = at::linspace(-1, 1, 2 * 3 * 16 * 16).view({2, 3, 16, 16});
  const VqLoss loss = vq_loss(*vae, x, {.l2 = 1, .l1 = 0, .commitment = 0});
  loss.loss.total.backward();
  for (const auto& [name, p] : vae->params().items()) {
    const bool learns = p.grad().defined() && p.grad().abs().max().item<double>() > 0;
    EXPECT_EQ(learns, name != kCodebookName) << name;
  }
  EXPECT_TRUE(at::equal(loss.codes, vae->encode(x).flatten()));
}

TEST(TokenizerTraining, LearnsAndWritesWhatItLearned) {
  const test::TemporaryDirectory folder;
  const TokenizerTrainingOptions o = tiny_options();
  const auto vae = KlVae::random(o.tokenizer, 0);
  const TrainingImages images = shapes(64);
  const double before = reconstruction_quality(*vae, images, 56, 8, 1).psnr;
  const TokenizerTrainingResult result = train_tokenizer(*vae, images, o, folder.path());
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.images, 320);
  EXPECT_GT(result.psnr, before + 3);
  EXPECT_NEAR(vae->config().latent_scale * result.measures["latent_std"].get<double>(), 1, 1e-9);
  // What lies on disk is what is in memory, and its latents have unit variance.
  const auto read = load_tokenizer(folder / "tokenizer");
  EXPECT_EQ(reconstruction_quality(*read, images, 56, 8, 1).psnr, reconstruction_quality(*vae, images, 56, 8, 1).psnr);
  EXPECT_NEAR(measure_latent_std(*read, images, 64, 5) * read->config().latent_scale, 1, 0.1);
  // One line a log_images images. Each holds the loss of a single batch, which need not fall from line to line.
  std::ifstream log(folder / "log.jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(log, line);) lines.push_back(Json::parse(line));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["images"], 80);
  EXPECT_EQ(lines[3]["images"], 320);
}

TEST(TokenizerTraining, SameSeedSameWeights) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  o.images = 40;
  o.flip = true;
  const auto trained = [&](int64_t seed) {
    o.seed = seed;
    auto vae = KlVae::random(o.tokenizer, 0);
    train_tokenizer(*vae, shapes(32), o, folder / "run");
    return vae->params().map().at("decoder.conv_out.weight").clone();
  };
  const Tensor first = trained(1);
  EXPECT_TRUE(at::equal(first, trained(1)));
  EXPECT_FALSE(at::equal(first, trained(2)));
}

// Models of the latents go on as they are: the encoder and the scale stay, the decoder gets better.
TEST(TokenizerTraining, FrozenEncoderKeepsTheLatents) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  const TrainingImages images = shapes(64);
  const auto vae = KlVae::random(o.tokenizer, 0);
  vae->set_latent_scale(0.7);
  o.freeze_encoder = true;
  TensorMap before;
  for (const auto& [name, p] : vae->params().map()) before[name] = p.clone();
  const double psnr = reconstruction_quality(*vae, images, 56, 8, 1).psnr;
  const TokenizerTrainingResult result = train_tokenizer(*vae, images, o, folder.path());
  EXPECT_GT(result.psnr, psnr + 1);
  EXPECT_EQ(load_tokenizer(folder / "tokenizer")->config().latent_scale, 0.7);
  for (const auto& [name, p] : vae->params().map()) {
    const bool decoder = name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
    EXPECT_EQ(at::equal(p, before.at(name)), !decoder) << name;
  }
}

TEST(TokenizerTraining, LatentNoiseGoesToTheDecoder) {
  const at::NoGradGuard no_grad;
  const TokenizerTrainingOptions o = tiny_options();
  const auto vae = KlVae::random(o.tokenizer, 1);
  const std::vector<int64_t> two = {0, 1};
  const Tensor x = shapes(2).batch(two).images.to(at::kFloat) / 127.5 - 1;
  const Tensor mean = posterior_mean(vae->encode_moments(x)), none = at::zeros_like(mean), added = none + 0.3;
  const TokenizerLoss loss = tokenizer_loss(*vae, x, none, o.loss, added);
  EXPECT_NEAR(loss.l2.item<double>(), at::mse_loss(vae->decode(mean + added), x).item<double>(), 1e-6);
  EXPECT_EQ(loss.bottleneck.item<double>(), tokenizer_loss(*vae, x, none, o.loss).bottleneck.item<double>());
}

TEST(TokenizerTraining, LatentNoiseIsDrawnFromTheSeed) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  o.images = 24;
  const auto trained = [&](double strongest) {
    o.latent_noise = strongest;
    const auto vae = KlVae::random(o.tokenizer, 0);
    train_tokenizer(*vae, shapes(32), o, folder / "run");
    return vae->params().map().at("decoder.conv_out.weight").clone();
  };
  const Tensor noisy = trained(0.5);
  EXPECT_TRUE(at::equal(noisy, trained(0.5)));
  EXPECT_FALSE(at::equal(noisy, trained(0)));
}

TEST(TokenizerTraining, StopsAndKeepsWhatIsThere) {
  const test::TemporaryDirectory folder;
  const TokenizerTrainingOptions o = tiny_options();
  const auto vae = KlVae::random(o.tokenizer, 0);
  int64_t asked = 0;
  const TokenizerTrainingResult result =
      train_tokenizer(*vae, shapes(32), o, folder.path(), [&] { return ++asked > 3; });
  EXPECT_FALSE(result.finished);
  EXPECT_EQ(result.images, 3 * o.batch);
  EXPECT_NO_THROW(load_tokenizer(folder / "tokenizer"));
  EXPECT_EQ(read_json(folder / "tokenizer" / "config.json")["training"]["finished"], false);
}

TEST(TokenizerTraining, WhatBrokeDownIsNotKept) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  o.images = 16;
  const auto vae = KlVae::random(o.tokenizer, 0);
  train_tokenizer(*vae, shapes(32), o, folder.path());
  const std::string before = read_file(folder / "tokenizer" / "model.safetensors");
  for (const bool freeze : {false, true}) {  // of a frozen encoder the latents stay finite
    const auto again = load_tokenizer(folder / "tokenizer");
    o.freeze_encoder = freeze;
    o.lr = 1e38;
    EXPECT_CONTAINS(test::error_of([&] { train_tokenizer(*again, shapes(32), o, folder.path()); }),
                    "training broke down");
    EXPECT_TRUE(read_file(folder / "tokenizer" / "model.safetensors") == before);
  }
}

TEST(TokenizerTraining, OptionsThatCannotBe) {
  const test::TemporaryDirectory folder;
  TokenizerTrainingOptions o = tiny_options();
  const auto vae = KlVae::random(o.tokenizer, 0);
  EXPECT_CONTAINS(test::usage_error_of([&] { train_tokenizer(*vae, shapes(8), o, folder.path()); }), "lower held_out");
  o.image_side = 18;
  EXPECT_CONTAINS(test::usage_error_of([&] { o.validate(); }), "multiple of 4, got 18");
  o = tiny_options();
  o.latent_noise = -1;
  EXPECT_CONTAINS(test::usage_error_of([&] { o.validate(); }), "latent_noise must be at least 0, got -1");
  o = tiny_options();
  o.precision = "fp8";
  EXPECT_CONTAINS(test::usage_error_of([&] { o.validate(); }), "fp8");
}

}  // namespace
}  // namespace crescendo
