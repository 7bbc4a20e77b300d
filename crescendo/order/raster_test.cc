#include "crescendo/order/raster.h"

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

Plan plan_of(const Json& asked, const ModelConfig& config = tiny_config(Order::kRaster)) {
  return make_plan(resolve_sampler(asked, config), config);
}

TEST(Raster, OneTokenAStepAndGuidanceOverThem) {
  const Plan plan = plan_of({{"cfg", 4}});
  ASSERT_EQ(plan.size(), 16);
  EXPECT_FALSE(plan.random_order);
  for (int64_t i = 0; i < 16; ++i) {
    const Step& step = plan.steps[static_cast<size_t>(i)];
    EXPECT_NEAR(step.head.guidance, 1 + 3 * static_cast<double>(i) / 15, 1e-12);
    EXPECT_EQ(step.head.level, 0);
    EXPECT_EQ(step.masked, 0);
    EXPECT_FALSE(step.filter);
    EXPECT_EQ(places_read(plan, i, 1), (std::pair<int64_t, int64_t>{0, 1}));
  }
  EXPECT_EQ(plan_of({{"cfg", 4}, {"cfg_schedule", "constant"}}).steps[0].head.guidance, 4);
}

TEST(Raster, OptionsOfOtherOrdersAreRefused) {
  const auto error = [](const Json& asked) { return usage_error_of([&] { plan_of(asked); }); };
  EXPECT_CONTAINS(error({{"levels", {0, 1}}}),
                  "the order raster has no frequency levels and no masks; levels does not");
  EXPECT_CONTAINS(error({{"mask", true}}), "mask does not apply");
  EXPECT_CONTAINS(error({{"visible_level", 2}}), "visible_level does not apply");
  EXPECT_CONTAINS(error({{"filter", "fourier"}}), "filter does not apply");
  EXPECT_CONTAINS(error({{"steps", 4}}), "steps must be 16, got 4");
  EXPECT_CONTAINS(error({{"preset", "paper"}}),
                  "the preset paper is for models of order far, and this model's is raster; take the preset raster");
  EXPECT_CONTAINS(usage_error_of([&] { plan_of({{"preset", "raster"}}, tiny_config()); }), "take the preset paper");
}

ObjectiveOptions quiet() {
  ObjectiveOptions o;
  o.label_dropout = o.attention_dropout = o.projection_dropout = 0;
  return o;
}

// z_i of x_1 .. x_{i-1} is asked for x_i, over all L of them; noise on what is seen leaves the targets clean.
TEST(Raster, LossOfTheNextToken) {
  const at::NoGradGuard no_grad;
  const auto model = lively_model(tiny_config(Order::kRaster));
  const Tensor x = at::randn({3, 2, 4, 4}, at::make_generator<at::CPUGeneratorImpl>(3));
  ObjectiveBatch batch{x, model->conditions().class_condition(at::tensor({1, 0, 2})), {7, 8, 9}, 5};
  for (const double noise : {0.0, 0.5}) {
    ObjectiveOptions o = quiet();
    o.input_noise = noise;
    const Tensor tokens = patchify(x, 1), seen = patchify(noised_latents(o, batch), 1);
    const Tensor z = model->sequence().forward(seen.slice(1, 0, 15), batch.condition);
    const Tensor expected = token_loss(*model, o, z, at::zeros({3}, at::kLong), tokens, batch).mean({1});
    const ObjectiveResult r = raster_loss(*model, o, batch);
    EXPECT_LT(relative_l2(r.image_loss, expected), 1e-6) << noise;
    EXPECT_NEAR(r.loss.item<double>(), expected.mean().item<double>(), 1e-5 * std::abs(expected.mean().item<double>()));
    EXPECT_EQ(at::equal(seen, tokens), noise == 0);
  }
}

// The sampling loop against a plain one, which for every token passes all before it through the transformer anew.
TEST(Raster, SamplesAsAPlainLoopDoes) {
  const at::NoGradGuard no_grad;
  const auto model = lively_model(tiny_config(Order::kRaster));
  const Plan plan = plan_of({{"diffusion_steps", {3}}, {"cfg", 2}});
  const SeededNoise noise({4, 5}, 1, 2, at::kCPU);
  const Tensor condition = model->conditions().class_condition(at::tensor({1, 2}));
  const Tensor both = at::cat({condition, model->conditions().null_condition(2)});
  InnerLoop inner(model->head(), {.plain = true});
  Tensor x = at::zeros({2, 16, 2});
  for (int64_t i = 0; i < 16; ++i) {
    const HeadStep& step = plan.steps[static_cast<size_t>(i)].head;
    const Tensor z = model->sequence().forward(at::cat({x, x}).slice(1, 0, 15), both).select(1, i);  // (4, D)
    const StepsNoiseFn of_step = [&](int64_t n, int64_t count) {
      return noise.steps(i, n, count).reshape({count, 2, 2});
    };
    x.select(1, i).copy_(inner.run(step, step.guided() ? z : z.slice(0, 0, 2), noise.initial(i).reshape({2, 2}),
                                   of_step, [](int64_t) {}));
  }
  for (const bool plain : {false, true})
    EXPECT_LT(relative_l2(sample(*model, condition, plan, noise, {}, {.plain = plain}), unpatchify(x, model->config())),
              1e-4)
        << plain;
}

}  // namespace
}  // namespace crescendo
