#include "crescendo/order/next_scale.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/order/presets.h"
#include "crescendo/order/sample.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::lively_model;
using test::relative_l2;
using test::tiny_config;
using test::usage_error_of;

ModelConfig scales(std::vector<int64_t> sides, bool residual = false) {
  ModelConfig c = tiny_config(Order::kNextScale);
  c.scales = std::move(sides);
  c.residual = residual;
  return c;
}

// Latents of 12 x 12 in patches of 2, with sides that divide them and that do not.
ModelConfig large(bool residual) {
  ModelConfig c = scales({2, 4, 8, 12}, residual);
  c.latent_height = c.latent_width = 12;
  c.patch = 2;
  return c;
}

Tensor draw(at::IntArrayRef shape, uint64_t seed = 3) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

Plan plan_of(const Json& asked, const ModelConfig& config) { return make_plan(resolve_sampler(asked, config), config); }

// The sum of the scales' targets in latent units, each brought to the full side; without residuals the last alone.
Tensor picture_of(const ModelConfig& c, const Tensor& targets) {
  const std::vector<int64_t> sides = c.sides();
  const auto parts = targets.split_with_sizes(c.step_tokens(), 1);
  Tensor h = at::zeros({targets.size(0), c.latent_channels, c.latent_height, c.latent_width});
  for (size_t k = 0; k < sides.size(); ++k) {
    const Tensor r = unpatchify(parts[k] * (c.scale_std.empty() ? 1.0 : c.scale_std[k]), c.patch, sides[k], sides[k]);
    const Tensor up = resized(r, up_matrix(c.latent_height, sides[k]));
    h = c.residual ? h + up : up;
  }
  return h;
}

TEST(NextScale, TrueTargetsMakeThePicture) {
  const Tensor x = draw({3, 2, 12, 12});
  for (const bool residual : {false, true})
    for (const std::vector<double>& std : {std::vector<double>{}, std::vector<double>{0.3, 0.5, 2, 0.7}}) {
      ModelConfig c = large(residual);
      c.scale_std = std;
      const ScaleTokens tokens = scale_tokens(c, x);
      EXPECT_EQ(tokens.inputs.sizes(), (std::vector<int64_t>{3, 4 + 16 + 36, 8}));
      EXPECT_EQ(tokens.targets.sizes(), (std::vector<int64_t>{3, 1 + 4 + 16 + 36, 8}));
      EXPECT_LT(relative_l2(picture_of(c, tokens.targets), x), 1e-6) << residual;
    }
}

// 4 x 4 with rows 0, 2, 4, 6, in two scales and patches of 2. Averages of two: 1 and 5. Bicubic back with a = -0.75:
// weights of the second are -0.10546875, 0.2265625, 0.7734375 and 1.10546875, times their distance 4 and plus 1.
TEST(NextScale, AHandMadeCase) {
  const Tensor x = at::tensor({0.f, 2.f, 4.f, 6.f}).view({1, 1, 4, 1}).expand({1, 1, 4, 4}).contiguous();
  const auto halves = [](float a, float b, float c, float d) {  // two tokens of the upper rows, two of the lower
    return at::tensor({a, a, b, b, a, a, b, b, c, c, d, d, c, c, d, d}).view({1, 4, 4});
  };
  const Tensor h = halves(0.578125f, 1.90625f, 4.09375f, 5.421875f);
  for (const bool residual : {false, true}) {
    ModelConfig c = scales({2, 4}, residual);
    c.latent_channels = 1;
    c.patch = 2;
    const ScaleTokens tokens = scale_tokens(c, x);
    EXPECT_LT(relative_l2(tokens.inputs, h), 1e-6);
    EXPECT_LT(relative_l2(tokens.targets.slice(1, 0, 1), at::tensor({1.f, 1.f, 5.f, 5.f}).view({1, 1, 4})), 1e-6);
    EXPECT_LT(relative_l2(tokens.targets.slice(1, 1),
                          residual ? halves(-0.578125f, 0.09375f, -0.09375f, 0.578125f) : halves(0, 2, 4, 6)),
              1e-6);
  }
}

// With residuals the targets behind an error make up for it; without, they are what they were.
TEST(NextScale, LaterTargetsMakeUpForErrors) {
  const Tensor x = draw({2, 2, 12, 12});
  const auto error = [](int64_t k, const Tensor& r) { return k == 1 ? at::full_like(r, 0.5) : at::zeros_like(r); };
  for (const bool residual : {false, true}) {
    const ModelConfig c = large(residual);
    const ScaleTokens good = scale_tokens(c, x), erring = scale_tokens(c, x, error);
    const auto scale = [&](const Tensor& t, int64_t begin, int64_t end) { return t.slice(1, begin, end); };
    EXPECT_TRUE(at::equal(scale(erring.targets, 0, 5), scale(good.targets, 0, 5)));  // up to the error
    EXPECT_TRUE(at::equal(scale(erring.inputs, 0, 4), scale(good.inputs, 0, 4)));
    EXPECT_LT(((scale(erring.inputs, 4, 20) - scale(good.inputs, 4, 20)) - 0.5).abs().max().item<double>(), 1e-5);
    EXPECT_EQ(at::equal(scale(erring.targets, 5, 21), scale(good.targets, 5, 21)), !residual);
    if (!residual) continue;
    // What the picture would be, were the error in it: the true one again.
    Tensor with_error = erring.targets.clone();
    with_error.slice(1, 1, 5) += 0.5;
    EXPECT_LT(relative_l2(picture_of(c, with_error), x), 1e-6);
  }
}

TEST(NextScale, MeasuredStdNormalises) {
  const Tensor x = draw({64, 2, 12, 12});
  ModelConfig c = large(true);
  c.scale_std = measured_scale_std(c, x);
  ASSERT_EQ(c.scale_std.size(), 4u);
  EXPECT_LT(c.scale_std[0], 0.3);  // averages of 36
  EXPECT_EQ(measured_scale_std(c, x), c.scale_std);
  for (const Tensor& t : scale_tokens(c, x).targets.split_with_sizes(c.step_tokens(), 1))
    EXPECT_NEAR(t.std(false).item<double>(), 1, 1e-4);
}

TEST(NextScale, AStepAScale) {
  const ModelConfig c = scales({1, 2, 4});
  const Plan plan = plan_of({{"cfg", 3}}, c);
  ASSERT_EQ(plan.size(), 3);
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(plan.steps[static_cast<size_t>(k)].head.level, static_cast<double>(k));
    EXPECT_NEAR(plan.steps[static_cast<size_t>(k)].head.guidance, 1 + static_cast<double>(k), 1e-12);
  }
  EXPECT_CONTAINS(usage_error_of([&] { plan_of({{"steps", 2}}, c); }), "a step a scale: steps must be 3, got 2");
  EXPECT_CONTAINS(usage_error_of([&] { plan_of({{"levels", {0, 1, 2}}}, c); }), "levels does not apply");
}

ObjectiveOptions quiet() {
  ObjectiveOptions o;
  o.mask = MaskDraw::kOff;
  o.level_weight = false;
  o.label_dropout = o.attention_dropout = o.projection_dropout = 0;
  return o;
}

// The head is told k - 1; every token counts alike, or every scale.
TEST(NextScale, LossOverTheScales) {
  const at::NoGradGuard no_grad;
  for (const bool residual : {false, true}) {
    ModelConfig c = scales({1, 2, 4}, residual);
    c.scale_std = {0.5, 2, 1};
    const auto model = lively_model(c);
    const ObjectiveBatch batch{
        draw({3, 2, 4, 4}), model->conditions().class_condition(at::tensor({1, 0, 2})), {7, 8, 9}, 5};
    const ScaleTokens tokens = scale_tokens(c, batch.latents);
    ObjectiveOptions o = quiet();
    const Tensor z = model->sequence().forward(tokens.inputs, batch.condition);
    const Tensor levels = at::cat({at::zeros({1}), at::ones({4}), at::full({16}, 2)}).to(at::kLong).expand({3, 21});
    const Tensor each = token_loss(*model, o, z, levels, tokens.targets, batch);  // (B, L)
    EXPECT_LT(relative_l2(next_scale_loss(*model, o, batch).image_loss, each.mean({1})), 1e-5);
    o.loss_weight = LossWeight::kScale;
    const Tensor by_scale =
        (each.slice(1, 0, 1).mean({1}) + each.slice(1, 1, 5).mean({1}) + each.slice(1, 5).mean({1})) / 3;
    EXPECT_LT(relative_l2(next_scale_loss(*model, o, batch).image_loss, by_scale), 1e-5);
    o.loss_weight = LossWeight::kToken;
    o.self_correct = 0.5;
    const Tensor corrected = next_scale_loss(*model, o, batch).image_loss;
    EXPECT_GT(relative_l2(corrected, each.mean({1})), 1e-4);
    // An image's noise is its own.
    const ObjectiveBatch last{batch.latents.slice(0, 2), batch.condition.slice(0, 2), {9}, 5};
    EXPECT_LT(relative_l2(next_scale_loss(*model, o, last).image_loss[0], corrected[2]), 1e-5);
  }
}

// One scale is FAR at level 0, where nothing is known and nothing hidden, but for what enters the transformer: the same
// step, and of the same z the same loss.
TEST(NextScale, OneScaleIsFarAtItsFirstLevel) {
  const at::NoGradGuard no_grad;
  const ModelConfig one = scales({4}, true);
  const Json asked = {{"cfg", 3}, {"diffusion_steps", {7}}};
  const Json far_asked = {{"cfg", 3}, {"diffusion_steps", {7}}, {"mask", false}, {"steps", 1}};
  EXPECT_EQ(plan_to_json(plan_of(asked, one))["steps"], plan_to_json(plan_of(far_asked, tiny_config()))["steps"]);
  const auto model = lively_model(one);
  const ObjectiveBatch batch{
      draw({3, 2, 4, 4}), model->conditions().class_condition(at::tensor({1, 0, 2})), {7, 8, 9}, 5};
  const Tensor z = model->sequence().forward(at::zeros({3, 0, 2}), batch.condition);
  const Tensor far_loss_of_z =
      loss_of(*model, quiet(), z, at::zeros({3}, at::kLong), patchify(batch.latents, 1), {}, batch);
  EXPECT_LT(relative_l2(next_scale_loss(*model, quiet(), batch).image_loss, far_loss_of_z), 1e-6);
}

// The sampling loop against a plain one, which for every scale passes all before it through the transformer anew.
TEST(NextScale, SamplesAsAPlainLoopDoes) {
  const at::NoGradGuard no_grad;
  for (const auto& kind : {std::pair{false, false}, {true, false}, {true, true}}) {
    const bool residual = kind.first, markov = kind.second;
    ModelConfig c = scales({1, 2, 4}, residual);
    c.markov = markov;
    c.scale_std = {0.5, 2, 1};
    const auto model = lively_model(c);
    const Plan plan = plan_of({{"diffusion_steps", {3}}, {"cfg", 2}}, c);
    const SeededNoise noise({4, 5}, c.drawn_tokens(), 2, at::kCPU);
    const Tensor condition = model->conditions().class_condition(at::tensor({1, 2}));
    const Tensor both = at::cat({condition, model->conditions().null_condition(2)});
    InnerLoop inner(model->head(), {.plain = true});
    const std::vector<int64_t> counts = c.step_tokens(), sides = c.sides();
    Tensor inputs = at::zeros({2, 20, 2}), targets = at::zeros({2, 21, 2});
    std::vector<Tensor> pictures;
    for (int64_t k = 0, first = 0; k < 3; first += counts[static_cast<size_t>(k++)]) {
      const int64_t n = counts[static_cast<size_t>(k)];
      const HeadStep& step = plan.steps[static_cast<size_t>(k)].head;
      if (k > 0)
        inputs.narrow(1, first - 1, n)
            .copy_(patchify(resized(pictures.back(), down_matrix(4, sides[static_cast<size_t>(k)])), 1));
      const Tensor z = model->sequence().forward(at::cat({inputs, inputs}), both).narrow(1, first, n);
      const StepsNoiseFn of_step = [&](int64_t i, int64_t count) {
        return noise.steps(k, i, count).slice(2, 0, n).reshape({count, 2 * n, 2});
      };
      const Tensor drawn = inner.run(step, (step.guided() ? z : z.slice(0, 0, 2)).reshape({-1, 8}),
                                     noise.initial(k).slice(1, 0, n).reshape({2 * n, 2}), of_step, [](int64_t) {});
      targets.narrow(1, first, n).copy_(drawn.view({2, n, 2}));
      Tensor known = targets.clone();  // the scales that are there
      known.slice(1, first + n).zero_();
      if (!residual && k < 2) {
        const auto at_k = static_cast<size_t>(k);
        pictures.push_back(resized(unpatchify(drawn.view({2, n, 2}) * c.scale_std[at_k], 1, sides[at_k], sides[at_k]),
                                   up_matrix(4, sides[at_k])));
      } else {
        pictures.push_back(picture_of(c, known));
      }
    }
    for (const bool plain : {false, true}) {
      size_t step = 0;
      SampleHooks hooks;
      hooks.on_outer_step = [&](int64_t, const Tensor& shown) {  // the running picture
        EXPECT_LT(relative_l2(shown, pictures.at(step++)), 1e-4) << residual << markov;
        return true;
      };
      const Tensor sampled = sample(*model, condition, plan, noise, hooks, {.plain = plain});
      EXPECT_EQ(step, 3u);
      EXPECT_LT(relative_l2(sampled, pictures.back()), 1e-4) << residual << markov << plain;
    }
  }
}

}  // namespace
}  // namespace crescendo
