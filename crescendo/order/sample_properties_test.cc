#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/order/sample.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::error_of;
using test::lively_model;
using test::relative_l2;
using test::tiny_config;

Plan tiny_plan(const ModelConfig& config, const Json& asked = Json::object()) {
  return make_plan(resolve_sampler(merge_asked({{"diffusion_steps", {3, 6}}, {"cfg", 2}}, asked), config), config);
}

SeededNoise noise_of(const FarModel& model, const std::vector<uint64_t>& seeds) {
  return {seeds, model.config().drawn_tokens(), model.config().token_channels(), at::kCPU};
}

Tensor sample_classes(const FarModel& model, const Plan& plan, const std::vector<int64_t>& labels,
                      const std::vector<uint64_t>& seeds, const SampleHooks& hooks = {},
                      const Execution& execution = {}) {
  const at::NoGradGuard no_grad;
  return sample(model, model.conditions().class_condition(at::tensor(labels)), plan, noise_of(model, seeds), hooks,
                execution);
}

//----------------------------------------------------------------------------
// One stream per image.

TEST(SampleProperties, AnImageIsTheSameInAnyBatch) {
  const auto far = lively_model(tiny_config());
  const auto mar = lively_model(tiny_config(Order::kMar)), raster = lively_model(tiny_config(Order::kRaster)),
             next_scale = lively_model(tiny_config(Order::kNextScale));
  const Json mask_off = {{"mask", false}}, ddim = {{"solver", "ddim"}}, five = {{"steps", 5}};
  // Rounding of a product with another number of rows grows with every inner step of this solver, so they are few.
  const Json noisy = {{"solver", "dpmpp-2m-sde"}, {"end_timestep", 40}, {"diffusion_steps", {3, 4}}};
  const std::vector<std::tuple<const char*, const FarModel*, Plan>> cases{
      {"masks, ddpm", far.get(), tiny_plan(far->config())},
      {"no masks, ddpm", far.get(), tiny_plan(far->config(), mask_off)},
      {"masks, ddim", far.get(), tiny_plan(far->config(), ddim)},
      {"masks, dpmpp-2m", far.get(), tiny_plan(far->config(), {{"solver", "dpmpp-2m"}})},
      {"masks, dpmpp-2m-sde", far.get(), tiny_plan(far->config(), noisy)},
      {"mar", mar.get(), tiny_plan(mar->config(), five)},
      {"raster", raster.get(), tiny_plan(raster->config(), ddim)},
      {"next-scale", next_scale.get(), tiny_plan(next_scale->config(), ddim)}};
  for (const auto& [name, model, plan] : cases) {
    const Tensor alone = sample_classes(*model, plan, {2}, {77});
    EXPECT_TRUE(at::isfinite(alone).all().item<bool>()) << name;
    EXPECT_LT(relative_l2(sample_classes(*model, plan, {0, 2, 1}, {5, 77, 6})[1], alone[0]), 1e-6) << name;
    const Tensor five_images = sample_classes(*model, plan, {0, 0, 1, 2, 2}, {1, 2, 3, 4, 77});
    EXPECT_LT(relative_l2(five_images[4], alone[0]), 1e-6) << name;
    EXPECT_TRUE(at::equal(sample_classes(*model, plan, {2}, {77}), alone)) << name;
    // Another seed or another class is another image.
    EXPECT_GT(relative_l2(five_images[3], alone[0]), 1e-2) << name;
    EXPECT_GT(relative_l2(sample_classes(*model, plan, {1}, {77}), alone), 1e-3) << name;
  }
}

// Images of one class begin alike, with guidance from the first step on also those without condition: what is computed
// once for several is what each has alone, and the plain path computes it for each.
TEST(SampleProperties, ImagesOfOneConditionShareTheirFirstStep) {
  const Json constant = {{"cfg_schedule", "constant"}}, mask_off = {{"mask", false}};
  const auto far = lively_model(tiny_config()), mar = lively_model(tiny_config(Order::kMar));
  for (const auto& [model, plan] :
       std::vector<std::pair<const FarModel*, Plan>>{{far.get(), tiny_plan(far->config())},
                                                     {far.get(), tiny_plan(far->config(), constant)},
                                                     {far.get(), tiny_plan(far->config(), mask_off)},
                                                     {mar.get(), tiny_plan(mar->config(), constant)}}) {
    const at::NoGradGuard no_grad;
    const Tensor condition = model->backbone().class_condition(at::tensor({1, 0, 1, 1, 2}));
    const SeededNoise noise = noise_of(*model, {1, 2, 3, 4, 5});
    const Tensor together = sample(*model, condition, plan, noise);
    EXPECT_LT(relative_l2(together, sample(*model, condition, plan, noise, {}, {.plain = true})), 1e-5);
    EXPECT_LT(relative_l2(sample_classes(*model, plan, {1}, {3}), together.slice(0, 2, 3)), 1e-5);
  }
}

// Numbers of this sampler from when it matched the published ones (sample_test.cc), so that a drift shows without the
// fixtures: the first four latents, then mean and root mean square of all. The lively model's answers are large.
TEST(SampleProperties, GoldenNumbers) {
  const auto far = lively_model(tiny_config());
  const auto mar = lively_model(tiny_config(Order::kMar));
  const auto expect_numbers = [](const Tensor& latents, const std::vector<double>& expected) {
    const Tensor x = latents.reshape({-1}).to(at::kDouble);
    const Tensor got = at::cat({x.slice(0, 0, 4), x.mean().view({1}), x.square().mean().sqrt().view({1})});
    EXPECT_LT(relative_l2(got, at::tensor(expected)), 1e-4) << got;
  };
  expect_numbers(sample_classes(*far, tiny_plan(far->config()), {2}, {77}),
                 {45532.4414, 5595.7202, 18177.1875, -8291.1816, 14824.0473, 26361.8174});
  const Json other = {{"solver", "ddim"}, {"mask", false}};
  expect_numbers(sample_classes(*far, tiny_plan(far->config(), other), {1}, {77}),
                 {66.3672, 8.7871, 6.0838, -36.6313, -3.9026, 52.3216});
  expect_numbers(sample_classes(*mar, tiny_plan(mar->config(), {{"steps", 5}}), {0}, {77}),
                 {11618.0312, -6123.7012, 7904.7476, 16368.4873, -9409.9293, 24024.9316});
}

//----------------------------------------------------------------------------
// The plan is followed.

// Without a filter the rows that are masked again are not computed; with one they are. The identity as a filter must
// therefore change nothing.
TEST(SampleProperties, RowsLeftOutDoNotMatter) {
  const auto model = lively_model(tiny_config());
  Plan left_out = tiny_plan(model->config());
  for (Step& s : left_out.steps) s.filter.reset();
  Plan all = left_out;
  for (Step& s : all.steps) s.filter = model->config().levels;
  std::vector<Tensor> entering;
  SampleHooks hooks;
  hooks.on_input = [&](int64_t, const Tensor& tokens) { entering.push_back(tokens.clone()); };
  const Tensor a = sample_classes(*model, left_out, {0, 1}, {3, 4}, hooks),
               b = sample_classes(*model, all, {0, 1}, {3, 4}, hooks);
  EXPECT_LT(relative_l2(a, b), 1e-5);
  ASSERT_EQ(entering.size(), 2 * left_out.steps.size());
  for (size_t k = 1; k < left_out.steps.size(); ++k) {
    EXPECT_LT(relative_l2(entering[k], entering[k + left_out.steps.size()]), 1e-5) << k;
    const auto zero_tokens = entering[k].eq(0).all(2).sum({1});
    EXPECT_TRUE(zero_tokens.eq(left_out.steps[k].masked).all().item<bool>()) << k << ": " << zero_tokens;
  }
}

// What a step hands on is its prediction through the filter of the next level.
TEST(SampleProperties, TheNextStepSeesTheFilteredPrediction) {
  const auto model = lively_model(tiny_config());
  const ModelConfig& m = model->config();
  const Plan plan = tiny_plan(m, {{"mask", false}});
  const Lowpass lowpass(m.latent_height, m.latent_width, m.levels, plan.filter);
  Tensor predicted;
  int64_t steps = 0;
  SampleHooks hooks;
  hooks.on_input = [&](int64_t k, const Tensor& tokens) {
    const Tensor x = unpatchify(tokens, m);
    const auto level = static_cast<int64_t>(plan.steps[static_cast<size_t>(k)].head.level);
    EXPECT_LT(relative_l2(x, k ? lowpass(predicted, level) : at::zeros_like(x)), 1e-5) << k;
  };
  hooks.on_outer_step = [&](int64_t k, const Tensor& latents) {
    EXPECT_EQ(k, steps++);
    predicted = latents.clone();
    return true;
  };
  const Tensor latents = sample_classes(*model, plan, {1}, {9}, hooks);
  EXPECT_EQ(steps, 4);
  EXPECT_TRUE(at::equal(latents, predicted));  // nothing is filtered after the last step
}

// In bf16 the products are; what the filter takes and leaves is not.
TEST(SampleProperties, TheFilterIsInFp32) {
  const auto model = lively_model(tiny_config());
  model->params().to(at::kCPU, at::kBFloat16);
  const ModelConfig& m = model->config();
  const Plan plan = tiny_plan(m, {{"mask", false}, {"start_timestep", 700}});
  const Lowpass lowpass(m.latent_height, m.latent_width, m.levels, plan.filter);
  Tensor predicted;
  SampleHooks hooks;
  hooks.on_outer_step = [&](int64_t, const Tensor& latents) {
    predicted = latents.clone();
    return true;
  };
  hooks.on_input = [&](int64_t k, const Tensor& tokens) {
    const auto level = static_cast<int64_t>(plan.steps[static_cast<size_t>(k)].head.level);
    if (k > 0) {
      EXPECT_LT(relative_l2(unpatchify(tokens, m), lowpass(predicted, level)), 1e-6) << k;
    }
  };
  const Tensor latents = sample_classes(*model, plan, {1}, {9}, hooks);
  EXPECT_EQ(latents.scalar_type(), at::kFloat);
}

// What the hook is given of a step is what the next one sees, before tokens are hidden.
TEST(SampleProperties, TheFilteredPredictionIsSeen) {
  const auto model = lively_model(tiny_config());
  const ModelConfig& m = model->config();
  for (const bool mask : {true, false}) {
    Tensor filtered, before = at::zeros({1, 16, 2});
    SampleHooks hooks;
    hooks.on_input = [&](int64_t, const Tensor& tokens) {
      const Tensor seen = tokens.ne(0).any(2, /*keepdim=*/true);
      EXPECT_TRUE(at::equal(tokens, before * seen));
    };
    hooks.on_filtered = [&](int64_t, const Tensor& latents) {
      filtered = latents.clone();
      before = patchify(filtered, m.patch);
      EXPECT_TRUE(before.ne(0).any(2).all().item<bool>());
    };
    EXPECT_TRUE(at::equal(sample_classes(*model, tiny_plan(m, {{"mask", mask}}), {1}, {9}, hooks), filtered));
  }
}

// What was trained to predict the next level has filtered already: the next step sees the very prediction.
TEST(SampleProperties, AModelOfTheNextLevelIsNotFiltered) {
  ModelConfig config = tiny_config();
  config.predicts = Target::kNextLevel;
  const auto model = lively_model(config);
  for (const bool mask : {true, false}) {
    Tensor predicted;
    int64_t steps = 0;
    SampleHooks hooks;
    hooks.on_input = [&](int64_t k, const Tensor& tokens) {
      EXPECT_EQ(k, steps++);
      if (k == 0) return;
      const Tensor seen = tokens.ne(0).any(2, /*keepdim=*/true);
      EXPECT_TRUE(at::equal(tokens, predicted * seen)) << k;
      EXPECT_TRUE(mask || seen.all().item<bool>()) << k;
    };
    hooks.on_outer_step = [&](int64_t, const Tensor& latents) {
      predicted = patchify(latents, config.patch).clone();
      return true;
    };
    sample_classes(*model, tiny_plan(config, {{"mask", mask}}), {1}, {9}, hooks);
    EXPECT_EQ(steps, 4);
  }
}

// The step is named at which numbers are lost, and no latents come out.
TEST(SampleProperties, LatentsThatAreNotFiniteAreAnError) {
  const at::NoGradGuard no_grad;
  const auto model = lively_model(tiny_config());
  for (const bool plain : {false, true}) {
    Plan plan = tiny_plan(model->config());
    plan.steps[1].head.guidance = 1e38;
    EXPECT_CONTAINS(error_of([&] { sample_classes(*model, plan, {1}, {3}, {}, {.plain = plain}); }),
                    "NaN or infinite after outer step 2 of 4, whose guidance is 1e+38");
  }
  const Plan plan = tiny_plan(model->config());
  const SeededNoise seeded = noise_of(*model, {3});
  const Tensor init = seeded.initial(0).expand({4, 1, 16, 2}).clone();
  init[3][0][5][1] = NAN;
  const GivenNoise given({{"noise_init", init}}, seeded, 1, 16, 2);
  const Tensor condition = model->backbone().class_condition(at::tensor({int64_t{1}}));
  EXPECT_CONTAINS(error_of([&] { sample(*model, condition, plan, given); }), "after outer step 4 of 4");
}

// MAR keeps what it has predicted and adds tokens until all are there.
TEST(SampleProperties, MarPredictsEachTokenOnce) {
  const auto model = lively_model(tiny_config(Order::kMar));
  const Plan plan = tiny_plan(model->config(), {{"steps", 5}});
  Tensor before = at::zeros({2, 16, 2});
  SampleHooks hooks;
  hooks.on_input = [&](int64_t k, const Tensor& tokens) {
    const Tensor known = before.ne(0).any(2);  // (B, L)
    EXPECT_EQ(known.sum().item<int64_t>(), 2 * (16 - (k ? plan.steps[static_cast<size_t>(k) - 1].masked : 16)));
    EXPECT_TRUE(at::equal(tokens.index({known}), before.index({known}))) << k;
    before = tokens.clone();
  };
  const Tensor latents = sample_classes(*model, plan, {0, 2}, {3, 4}, hooks);
  EXPECT_TRUE(patchify(latents, 1).ne(0).any(2).all().item<bool>());
}

TEST(SampleProperties, OneStepIsOnePrediction) {
  const auto model = lively_model(tiny_config());
  for (const bool mask : {true, false}) {
    const Plan plan = tiny_plan(model->config(), {{"steps", 1}, {"mask", mask}});
    ASSERT_EQ(plan.steps.size(), 1u);
    int64_t evaluations = 0;
    SampleHooks hooks;
    hooks.on_inner_step = [&](int64_t done, int64_t total) {
      EXPECT_EQ(done, ++evaluations);
      EXPECT_EQ(total, plan.inner_steps());
      return true;
    };
    const Tensor latents = sample_classes(*model, plan, {1, 2}, {1, 2}, hooks);
    EXPECT_EQ(latents.sizes(), (std::vector<int64_t>{2, 2, 4, 4}));
    EXPECT_TRUE(at::isfinite(latents).all().item<bool>());
    EXPECT_EQ(evaluations, plan.inner_steps());
  }
}

//----------------------------------------------------------------------------
// Guidance and temperature.

Plan with_guidance(const FarModel& model, double s, const Json& asked) {
  Plan plan = tiny_plan(model.config(), asked);
  for (Step& step : plan.steps) step.head.guidance = s;
  return plan;
}

// At exactly 1 the unconditional half is left out; next to 1 it is computed and must count for nothing.
TEST(SampleProperties, GuidanceOfOneIsNoGuidance) {
  const auto model = lively_model(tiny_config());
  for (const Json& asked : {Json::object(), Json{{"mask", false}}}) {
    const auto at_s = [&](double s) { return sample_classes(*model, with_guidance(*model, s, asked), {0, 1}, {3, 4}); };
    EXPECT_LT(relative_l2(at_s(1), at_s(1 + 1e-12)), 1e-5);
    EXPECT_GT(relative_l2(at_s(1), at_s(3)), 1e-2);
  }
}

// At 0 the condition is left out of eps (DDIM asks nothing else of the head).
TEST(SampleProperties, GuidanceOfZeroIsUnconditional) {
  const at::NoGradGuard no_grad;
  const auto model = lively_model(tiny_config());
  const Json ddim = {{"solver", "ddim"}};
  const Tensor guided = sample_classes(*model, with_guidance(*model, 0, ddim), {0, 1}, {3, 4});
  const Tensor null =
      sample(*model, model->backbone().null_condition(2), with_guidance(*model, 1, ddim), noise_of(*model, {3, 4}));
  EXPECT_LT(relative_l2(guided, null), 1e-5);
}

// Temperature 0 leaves the initial noise as the only one.
TEST(SampleProperties, TemperatureZeroTakesNoStepNoise) {
  const at::NoGradGuard no_grad;
  const auto model = lively_model(tiny_config());
  const SeededNoise seeded = noise_of(*model, {3});
  const Tensor condition = model->backbone().class_condition(at::tensor({int64_t{1}}));
  const auto sampled = [&](double temperature, double step_noise) {
    Plan plan = tiny_plan(model->config());
    for (Step& step : plan.steps) step.head.temperature = temperature;
    const GivenNoise given({{"noise_step", at::full({4, 6, 1, 16, 2}, step_noise)}}, seeded, 1, 16, 2);
    return sample(*model, condition, plan, given);
  };
  EXPECT_TRUE(at::equal(sampled(0, 5), sampled(0, 0)));
  EXPECT_TRUE(at::equal(sampled(0, 5), sampled(1, 0)));
  EXPECT_GT(relative_l2(sampled(1, 5), sampled(1, 0)), 1e-4);
}

// The faster way of computing is the same function.
TEST(SampleProperties, PlainAndFusedAgree) {
  const at::NoGradGuard no_grad;
  for (const Order order : {Order::kFar, Order::kMar, Order::kRaster, Order::kNextScale}) {
    const auto model = lively_model(tiny_config(order));
    const Tensor condition = model->conditions().class_condition(at::tensor({int64_t{1}, int64_t{2}}));
    const Plan plan = tiny_plan(model->config());
    const SeededNoise noise = noise_of(*model, {3, 4});
    EXPECT_LT(relative_l2(sample(*model, condition, plan, noise),
                          sample(*model, condition, plan, noise, {}, {.plain = true})),
              1e-4);
  }
}

// In int8 a number that comes out a hair larger may be another whole number, so nothing of an image may depend on those
// beside it.
TEST(SampleProperties, InInt8AnImageIsTheSameInAnyBatch) {
  const auto model = lively_model(tiny_config());
  const Plan plan = tiny_plan(model->config());
  const Execution int8{.int8 = true};
  const Tensor alone = sample_classes(*model, plan, {2}, {77}, {}, int8);
  EXPECT_LT(relative_l2(sample_classes(*model, plan, {0, 2, 1}, {5, 77, 6}, {}, int8)[1], alone[0]), 1e-6);
  EXPECT_LT(relative_l2(sample_classes(*model, plan, {0, 0, 1, 2, 2}, {1, 2, 3, 4, 77}, {}, int8)[4], alone[0]), 1e-6);
  const double error = relative_l2(alone, sample_classes(*model, plan, {2}, {77}));
  EXPECT_LT(error, 0.2);
  EXPECT_GT(error, 1e-5);
}

// With a head whose products by weights in int8 are exact, as those weights are zeros, the transformer's show.
TEST(SampleProperties, InInt8TheTransformerIs) {
  const auto model = lively_model(tiny_config());
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, p] : model->params().items())
      if (name.find("res_blocks") != std::string::npos)
        Tensor(p).zero_();
      else if (name.ends_with("final_layer.adaLN_modulation.1.weight"))
        p.slice(0, p.size(0) / 2).zero_();  // scale
  }
  const Plan plan = tiny_plan(model->config());
  const double error =
      relative_l2(sample_classes(*model, plan, {2}, {77}, {}, {.int8 = true}), sample_classes(*model, plan, {2}, {77}));
  EXPECT_LT(error, 0.2);
  EXPECT_GT(error, 1e-5);
}

//----------------------------------------------------------------------------
// A start that is not nothing.

// The first step sees the low-pass of the latents at the start's level, with its hidden tokens zero; and the
// transformer's answer to an empty start is not taken for it.
TEST(SampleProperties, AStartIsSeenByTheFirstStep) {
  const auto model = lively_model(tiny_config());
  const ModelConfig& m = model->config();
  const Tensor latents = at::randn({2, 2, 4, 4}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{5}));
  const Lowpass lowpass(m.latent_height, m.latent_width, m.levels, m.filter);
  Sampler sampler(*model);
  const Tensor condition = model->backbone().class_condition(at::tensor({0, 1}));
  const SeededNoise noise = noise_of(*model, {3, 4});
  Plan plan = tiny_plan(m, {{"mask", false}, {"levels", {2, 3}}});
  const Tensor from_nothing = sampler.sample(condition, plan, noise);
  plan.start = {latents, 2, {}};
  Tensor seen;
  SampleHooks hooks;
  hooks.on_input = [&](int64_t k, const Tensor& tokens) {
    if (k == 0) seen = unpatchify(tokens, m).clone();
  };
  const Tensor from_latents = sampler.sample(condition, plan, noise, hooks);
  EXPECT_LT(relative_l2(seen, lowpass(latents, 2)), 1e-6);
  EXPECT_GT(relative_l2(from_latents, from_nothing), 1e-2);
  EXPECT_LT(relative_l2(from_latents, sample(*model, condition, plan, noise, {}, {.plain = true})), 1e-4);
}

TEST(SampleProperties, KnownTokensStay) {
  const auto model = lively_model(tiny_config());
  const ModelConfig& m = model->config();
  const Tensor latents = at::randn({2, 2, 4, 4}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{5}));
  Plan plan = tiny_plan(m, {{"mask", false}});
  plan.start = {latents, 0, at::zeros({2, 16}, at::kBool)};
  plan.start.known.slice(1, 0, 8).fill_(true);
  const Tensor tokens = patchify(sample_classes(*model, plan, {0, 1}, {3, 4}), m.patch);
  const Tensor given = patchify(latents, m.patch);
  EXPECT_TRUE(at::equal(tokens.slice(1, 0, 8), given.slice(1, 0, 8)));
  EXPECT_GT(relative_l2(tokens.slice(1, 8), given.slice(1, 8)), 1e-2);
  plan.start.latents = Tensor();
  EXPECT_CONTAINS(error_of([&] { sample_classes(*model, plan, {0, 1}, {3, 4}); }), "knows tokens, but has no latents");
}

//----------------------------------------------------------------------------
// Hooks and noise.

TEST(SampleProperties, HooksStopIt) {
  const auto model = lively_model(tiny_config());
  const Plan plan = tiny_plan(model->config());
  int64_t outer = 0, inner = 0;
  SampleHooks hooks;
  hooks.on_outer_step = [&](int64_t k, const Tensor&) { return ++outer, k < 1; };
  EXPECT_FALSE(sample_classes(*model, plan, {1}, {1}, hooks).defined());
  EXPECT_EQ(outer, 2);
  hooks.on_outer_step = {};
  hooks.on_inner_step = [&](int64_t done, int64_t) { return ++inner, done < 5; };
  EXPECT_FALSE(sample_classes(*model, plan, {1}, {1}, hooks).defined());
  EXPECT_EQ(inner, 5);
}

TEST(Noise, SeededStreamsBelongToTheirImage) {
  const SeededNoise a({1, 2, 3}, 16, 2, at::kCPU), b({9, 3}, 16, 2, at::kCPU);
  EXPECT_TRUE(at::equal(a.initial(2)[2], b.initial(2)[1]));
  EXPECT_TRUE(at::equal(a.steps(1, 4, 1)[0][2], b.steps(1, 3, 3)[1][1]));
  EXPECT_TRUE(at::equal(a.order()[2], b.order()[1]));
  // Every image, step and purpose has numbers of its own.
  const std::vector<Tensor> all{a.initial(0)[0],        a.initial(0)[1],        a.initial(1)[0],
                                a.steps(0, 0, 2)[0][0], a.steps(0, 0, 2)[1][0], a.steps(1, 0, 1)[0][0]};
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_GT((all[i] - all[j]).abs().min().item<double>(), 0) << i << " " << j;
  EXPECT_FALSE(at::equal(a.order()[0], a.order()[1]));
  EXPECT_TRUE(at::equal(std::get<0>(at::sort(a.order()[0])), at::arange(16, at::kLong)));
}

TEST(Noise, GivenTensorsTakePrecedence) {
  const SeededNoise seeded({1, 2}, 16, 2, at::kCPU);
  const Tensor init = at::arange(3 * 2 * 16 * 2, at::kDouble).view({3, 2, 16, 2});
  const Tensor order = at::arange(15, -1, -1, at::kLong).expand({2, 16});
  const GivenNoise given({{"noise_init", init}, {"order", order}}, seeded, 2, 16, 2);
  EXPECT_TRUE(at::equal(given.initial(1), init[1].to(at::kFloat)));
  EXPECT_TRUE(at::equal(given.order(), order));
  EXPECT_TRUE(at::equal(given.steps(0, 3, 2), seeded.steps(0, 3, 2)));  // not given
  EXPECT_CONTAINS(error_of([&] { given.initial(3); }), "holds 3 outer steps");
  const GivenNoise steps({{"noise_step", at::zeros({2, 4, 2, 16, 2})}}, seeded, 2, 16, 2);
  EXPECT_CONTAINS(error_of([&] { steps.steps(2, 0, 1); }), "2 outer and 4 inner");
  EXPECT_CONTAINS(error_of([&] { steps.steps(0, 4, 1); }), "2 outer and 4 inner");
}

TEST(Noise, GivenTensorsMustFit) {
  const SeededNoise seeded({1, 2}, 16, 2, at::kCPU);
  const auto refused = [&](const std::string& name, const Tensor& t) {
    return error_of([&] { GivenNoise({{name, t}}, seeded, 2, 16, 2); });
  };
  EXPECT_CONTAINS(refused("noise_init", at::zeros({3, 1, 16, 2})),
                  "noise_init must be [S, [2, 16, 2]], got [3, 1, 16, 2]");
  EXPECT_CONTAINS(refused("noise_init", at::zeros({2, 16, 2})), "noise_init");
  EXPECT_CONTAINS(refused("noise_step", at::zeros({3, 2, 16, 2})), "noise_step");
  EXPECT_CONTAINS(refused("order", at::zeros({2, 15}, at::kLong)), "order");
  EXPECT_CONTAINS(refused("order", at::zeros({2, 16}, at::kLong)), "permutation of 0..15");
  EXPECT_CONTAINS(refused("noise", at::zeros({2, 16})), "unknown tensor noise");
}

}  // namespace
}  // namespace crescendo
