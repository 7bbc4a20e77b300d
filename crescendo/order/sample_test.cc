#include "crescendo/order/sample.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/fixture_model.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

// Nobody should ask: everything comes from the fixture.
class NoNoise : public NoiseSource {
 public:
  Tensor initial(int64_t) const override { return at::zeros({1}); }
  Tensor steps(int64_t, int64_t, int64_t) const override { fail("the noise of an inner step was not given"); }
  Tensor order() const override { fail("the order was not given"); }
};

// Runs `preset` on the fixture `name` with the noise it holds and compares what enters each outer step and the result.
void expect_published_sample(const std::string& name, const std::string& prefix, const std::string& preset) {
  const TensorMap expected = test::fixture_expected(name);
  const auto model = test::fixture_model(name);
  TensorMap given;
  for (const char* key : {"noise_init", "noise_step", "order"})
    if (const auto it = expected.find(prefix + key); it != expected.end()) given[key] = it->second;
  const NoNoise none;
  const GivenNoise noise(given, none, 2, 256, 16);

  Json asked = {{"preset", preset}, {"diffusion_steps", Json::array({given.at("noise_step").size(1)})}};
  if (preset == "mar") asked["steps"] = given.at("noise_init").size(0);
  const Plan plan = make_plan(resolve_sampler(asked, model->config()), model->config());
  const Tensor inputs = expected.at(prefix + "inputs");  // (S, B, L, C)
  ASSERT_EQ(static_cast<int64_t>(plan.steps.size()), inputs.size(0));

  const auto& backbone = model->backbone();
  Tensor condition;
  if (model->config().is_text())
    condition = backbone.text_condition(expected.at(prefix + "text"));
  else
    condition = backbone.class_condition(
        expected.at(expected.contains(prefix + "labels") ? prefix + "labels" : "backbone.labels"));

  int64_t seen = 0;
  SampleHooks hooks;
  hooks.on_input = [&](int64_t k, const Tensor& tokens) {
    EXPECT_EQ(k, seen++);
    EXPECT_LT(relative_l2(tokens, inputs[k]), 3e-5) << "entering step " << k;
    if (const auto masks = expected.find(prefix + "masks"); masks != expected.end()) {
      EXPECT_EQ(masks->second[k].sum().item<int64_t>(), 2 * plan.steps[static_cast<size_t>(k)].masked) << "step " << k;
    }
  };
  const Tensor latents = sample(*model, condition, plan, noise, hooks);
  EXPECT_EQ(seen, inputs.size(0));
  EXPECT_LT(relative_l2(latents, expected.at(prefix + "latents")), 3e-5);
}

TEST(Sample, MatchesThePublishedSamplerWithoutMasks) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  expect_published_sample("far_micro", "sample.nomask.", "published-nomask");
}
TEST(Sample, MatchesThePublishedSamplerWithMasks) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  expect_published_sample("far_micro", "sample.mask.", "published-mask");
}
TEST(Sample, MatchesThePublishedTextSampler) {
  CRESCENDO_NEEDS_SHARED("fixtures/t2i_micro");
  expect_published_sample("t2i_micro", "sample.", "published-t2i");
}
TEST(Sample, MatchesThePublishedMarSampler) {
  CRESCENDO_NEEDS_SHARED("fixtures/mar_micro");
  expect_published_sample("mar_micro", "sample.", "mar");
}

}  // namespace
}  // namespace crescendo
