// The networks, the loss and the presets' plans against tests/golden/model.json: what a plain statement of the formulas
// in PyTorch gives (make_model_goldens.py). A clone has these without any further file.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/core/json.h"
#include "crescendo/diffusion/gaussian.h"
#include "crescendo/model/far_model.h"
#include "crescendo/order/next_scale.h"
#include "crescendo/order/plan.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

constexpr double kTolerance = 1e-5;  // fp32 against fp64

const Json& goldens() {
  static const Json json = read_json("tests/golden/model.json");
  return json;
}

Tensor golden(const std::string& name) {
  const Json& entry = goldens().at(name);
  const auto values = entry.at("values").get<std::vector<double>>();
  return at::tensor(values, at::kDouble).view(entry.at("shape").get<std::vector<int64_t>>());
}

// sin(i^2 / 2 + 1.3 i + phase of the name), as the script draws.
Tensor drawn(const std::string& name, at::IntArrayRef shape) {
  int64_t phase = 0;
  for (size_t k = 0; k < name.size(); ++k) phase += static_cast<int64_t>(k + 1) * static_cast<unsigned char>(name[k]);
  Tensor out = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < out.numel(); ++i) {
    const auto x = static_cast<double>(i);
    out.data_ptr<float>()[i] = static_cast<float>(std::sin(0.5 * x * x + 1.3 * x + static_cast<double>(phase % 1009)));
  }
  return out;
}

Tensor weight(const std::string& name, at::IntArrayRef shape) {
  const Tensor values = drawn(name, shape);
  if (shape.size() == 1) return 0.1 * values + (name.ends_with(".weight") ? 1.0 : 0.0);
  if (shape.size() == 3) return values;
  return values * std::sqrt(2.0 * static_cast<double>(shape[0]) / static_cast<double>(values.numel()));
}

TensorMap weights_of(const Params& outline) {
  TensorMap out;
  for (const auto& [name, p] : outline.items()) out[name] = weight(name, p.sizes());
  return out;
}

std::unique_ptr<FarModel> model() {
  ModelConfig c;
  c.width = c.diffusion_width = 8;
  c.encoder_blocks = c.decoder_blocks = 1;
  c.diffusion_blocks = c.heads = c.mlp_ratio = c.latent_channels = c.buffer_size = 2;
  c.latent_height = c.latent_width = c.levels = 4;
  c.classes = 3;
  return FarModel::from(c, weights_of(FarModel::outline(c)->params()), "drawn weights");
}

TEST(Golden, Backbone) {
  const auto far = model();
  const Backbone& backbone = far->backbone();
  const Tensor tokens = drawn("tokens", {2, 16, 2});
  const Tensor condition = backbone.class_condition(at::tensor({2, 0}, at::kLong));
  Tensor missing = at::zeros({2, 16}, at::kBool);
  for (const int64_t i : {1, 2, 5, 7, 8, 11, 15}) missing[0][i] = true;
  for (const int64_t i : {0, 3, 4, 6, 9, 10, 14}) missing[1][i] = true;
  for (const auto& [mode, mask] : {std::pair{"unmasked", TokenMask::none()}, {"masked", TokenMask::of(missing)}}) {
    const std::string name = std::string("backbone.") + mode;
    const Tensor encoded = backbone.encode(tokens, condition, mask);
    EXPECT_LT(relative_l2(encoded, golden(name + ".encoder")), kTolerance) << mode;
    EXPECT_LT(relative_l2(backbone.decode(encoded, condition, mask), golden(name + ".z")), kTolerance) << mode;
    EXPECT_LT(relative_l2(backbone.forward(tokens, condition, mask), golden(name + ".z")), kTolerance) << mode;
  }
}

TEST(Golden, HeadAndLoss) {
  const auto far = model();
  const Tensor t = at::tensor({0, 17, 100, 500, 999}, at::kLong);
  const Tensor level = at::tensor({0.f, 2.f, 7.f, 15.f, 3.f}).view({5, 1});
  const Tensor y = far->head().condition(drawn("z", {5, 8}), level) + far->head().time_embedding(t);
  EXPECT_LT(relative_l2(far->head().forward(drawn("x", {5, 2}), y), golden("head.output")), kTolerance);
  const Tensor x0 = drawn("x0", {5, 2}), noise = drawn("noise", {5, 2}), x_t = q_sample(x0, t, noise);
  const DiffusionLoss loss = diffusion_loss(far->head().forward(x_t, y), x0, x_t, t, noise);
  // Each alone: the bound at t = 0 has a formula of its own, which a larger neighbour must not hide.
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_LT(relative_l2(loss.mse[i], golden("loss.mse")[i]), kTolerance) << i;
    EXPECT_LT(relative_l2(loss.vb[i], golden("loss.vb")[i]), kTolerance) << i;
  }
}

TEST(Golden, KlVae) {
  KlVaeConfig c;
  c.base_channels = 8;
  c.multipliers = {1, 2};
  c.residual_blocks = 1;
  c.latent_channels = 2;
  c.attention_levels = {1};
  c.norm_groups = 4;
  const auto vae = KlVae::from(c, weights_of(KlVae::random(c, 1)->params()), "drawn weights");
  EXPECT_LT(relative_l2(vae->encode_moments(drawn("image", {1, 3, 8, 12})), golden("vae.moments")), kTolerance);
  EXPECT_LT(relative_l2(vae->decode(drawn("latents", {1, 2, 4, 6})), golden("vae.image")), kTolerance);
}

TEST(Golden, NextScale) {
  for (const bool residual : {true, false}) {
    ModelConfig c;
    c.order = Order::kNextScale;
    c.latent_height = c.latent_width = 6;
    c.latent_channels = c.patch = 2;
    c.scales = {2, 4, 6};
    c.residual = residual;
    const ScaleTokens tokens = scale_tokens(c, drawn("latents", {2, 2, 6, 6}));
    const std::string name = std::string("next_scale.") + (residual ? "residual" : "plain");
    EXPECT_LT(relative_l2(tokens.inputs, golden(name + ".inputs")), kTolerance) << residual;
    EXPECT_LT(relative_l2(tokens.targets, golden(name + ".targets")), kTolerance) << residual;
  }
}

TEST(Golden, PlansOfThePresets) {
  for (const std::string preset : {"published-nomask", "published-mask", "published-t2i", "paper", "mar"}) {
    ModelConfig config;
    config.order = preset == "mar" ? Order::kMar : Order::kFar;
    const Json steps =
        plan_to_json(make_plan(resolve_sampler({{"preset", preset}, {"cfg", 3}}, config), config)).at("steps");
    const Json& expected = goldens().at("plan." + preset);
    ASSERT_EQ(steps.size(), expected.size()) << preset;
    for (size_t k = 0; k < steps.size(); ++k)
      for (const auto& [key, value] : expected[k].items()) {
        const Json& got = steps[k].at(key);
        if (value.is_null())
          EXPECT_TRUE(got.is_null()) << preset << " step " << k << ": " << key << " is " << got;
        else
          EXPECT_NEAR(got.get<double>(), value.get<double>(), 1e-12) << preset << " step " << k << ": " << key;
      }
  }
}

}  // namespace
}  // namespace crescendo
