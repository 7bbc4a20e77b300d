// Published checkpoints through the program's own path: file -> model directory -> Pipeline, against what the published
// code answers.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/pipeline/pipeline.h"
#include "crescendo/store/convert.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "tests/fixture_weights.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;
using test::shared_path;
using test::TemporaryDirectory;

// Latents of `preset` with the noise that the fixture holds under `prefix`.
void expect_latents(const std::string& name, int64_t heads, const std::string& prefix, const std::string& preset) {
  const TemporaryDirectory dir;
  ConvertOptions options;
  options.heads = heads;
  write_model_directory(open_model(shared_path("fixtures/" + name + "/checkpoint-last.pth"), options), options,
                        dir / "m");
  const auto pipeline = Pipeline::load(dir / "m", {.tokenizer = false});

  const TensorMap expected = test::fixture_expected(name);
  Request request;
  for (const char* key : {"noise_init", "noise_step", "order"})
    if (const auto it = expected.find(prefix + key); it != expected.end()) request.noise[key] = it->second;
  if (const auto text = expected.find(prefix + "text"); text != expected.end()) {
    request.text = text->second;
  } else {
    const auto own = expected.find(prefix + "labels");
    const Tensor labels = own != expected.end() ? own->second : expected.at("backbone.labels");
    for (int64_t i = 0; i < labels.size(0); ++i) request.labels.push_back(labels[i].item<int64_t>());
  }
  request.seeds = {0, 1};
  request.decode = false;
  request.sampler["preset"] = preset;
  request.sampler["diffusion_steps"] = Json::array({request.noise.at("noise_step").size(1)});
  if (preset == "mar") request.sampler["steps"] = request.noise.at("noise_init").size(0);
  std::vector<Tensor> latents(2);
  PipelineHooks hooks;
  hooks.on_image = [&](Generated g) { latents[static_cast<size_t>(g.index)] = g.latent; };
  ASSERT_TRUE(pipeline->generate(request, hooks));
  EXPECT_LT(relative_l2(at::stack(latents), expected.at(prefix + "latents")), 3e-5) << name << ", " << preset;
}

TEST(Published, FarLatents) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  expect_latents("far_micro", 4, "sample.mask.", "published-mask");
  expect_latents("far_micro", 4, "sample.nomask.", "published-nomask");
}

TEST(Published, MarLatents) {
  CRESCENDO_NEEDS_SHARED("fixtures/mar_micro");
  expect_latents("mar_micro", 4, "sample.", "mar");
}

TEST(Published, TextLatents) {
  CRESCENDO_NEEDS_SHARED("fixtures/t2i_micro");
  expect_latents("t2i_micro", 0, "sample.", "published-t2i");  // heads of 64 channels need not be told
}

TEST(Published, WhatTheFilesSayAboutThemselves) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  ConvertOptions options;
  options.heads = 4;
  const ModelInfo far = open_model(shared_path("fixtures/far_micro/checkpoint-last.pth"), options).info;
  EXPECT_EQ(far.sampler["preset"], "published-mask");
  EXPECT_EQ(far.model.classes, 1000);
  EXPECT_EQ(far.training["args"]["vae_stride"], 16);
  const ModelInfo mar = open_model(shared_path("fixtures/mar_micro/checkpoint-last.pth"), options).info;
  EXPECT_EQ(mar.sampler["preset"], "mar");
  const ModelInfo text = open_model(shared_path("fixtures/t2i_micro/checkpoint-last.pth"), {}).info;
  EXPECT_EQ(text.model.heads, 2);
  EXPECT_EQ(text.model.text_length, 300);
}

TEST(Published, KlVaeMomentsAndImages) {
  CRESCENDO_NEEDS_SHARED("fixtures/vae_micro");
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const TemporaryDirectory dir;
  ConvertOptions options;
  options.heads = 4;
  options.tokenizer = shared_path("fixtures/vae_micro/kl16.ckpt");
  write_model_directory(open_model(shared_path("fixtures/far_micro/checkpoint-last.pth"), options), options, dir / "m");
  const auto vae = load_tokenizer(dir / "m" / "tokenizer");
  const TensorMap expected = test::fixture_expected("vae_micro");
  const at::NoGradGuard no_grad;
  EXPECT_LT(relative_l2(vae->encode_moments(expected.at("image")), expected.at("moments")), 1e-5);
  EXPECT_LT(relative_l2(vae->decode(expected.at("latent")), expected.at("decoded")), 1e-5);
  EXPECT_DOUBLE_EQ(vae->config().latent_scale, 0.2325);
}

}  // namespace
}  // namespace crescendo
