#include "crescendo/model/sequence.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/model/far_model.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::error_of;
using test::lively_model;
using test::relative_l2;
using test::tiny_config;

// Sides 1, 2 and 4: 21 tokens.
ModelConfig next_scale(bool markov = false) {
  ModelConfig c = tiny_config(Order::kNextScale);
  c.scales = {1, 2, 4};
  c.markov = markov;
  return c;
}

Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

// Inputs of all steps but the first, and a condition for three images.
struct Given {
  explicit Given(const FarModel& model)
      : condition(model.conditions().class_condition(at::tensor({2, 0, 1}))),
        counts(model.config().step_tokens()),
        inputs(draw({3, all() - counts[0], 2}, 5)) {}
  int64_t all() const {
    int64_t sum = 0;
    for (const int64_t n : counts) sum += n;
    return sum;
  }
  // The place of step k's inputs among all.
  int64_t first_input(size_t k) const {
    int64_t sum = 0;
    for (size_t j = 1; j < k; ++j) sum += counts[j];
    return sum;
  }
  Tensor inputs_of(size_t k) const { return k == 0 ? Tensor() : inputs.narrow(1, first_input(k), counts[k]); }
  Tensor condition;
  std::vector<int64_t> counts;
  Tensor inputs;
};

std::vector<ModelConfig> all_kinds() { return {tiny_config(Order::kRaster), next_scale(), next_scale(true)}; }

TEST(Sequence, StepByStepWithACacheIsAllAtOnce) {
  const at::NoGradGuard no_grad;
  for (const ModelConfig& config : all_kinds()) {
    const auto model = lively_model(config);
    const Given given(*model);
    const Tensor z = model->sequence().forward(given.inputs, given.condition);
    ASSERT_EQ(z.size(1), given.all());
    const Tensor cache = model->sequence().cache(3);
    std::vector<Tensor> steps;
    for (size_t k = 0; k < given.counts.size(); ++k)
      steps.push_back(model->sequence().step(static_cast<int64_t>(k), given.inputs_of(k), given.condition, cache));
    EXPECT_LT(relative_l2(at::cat(steps, 1), z), 1e-6) << enum_name(config.order) << config.markov;
  }
}

// A change in the input of step k leaves z of the steps before k as it was, to the bit.
TEST(Sequence, NothingSeesWhatComesAfterIt) {
  const at::NoGradGuard no_grad;
  for (const ModelConfig& config : all_kinds()) {
    const auto model = lively_model(config);
    const Given given(*model);
    const Tensor z = model->sequence().forward(given.inputs, given.condition);
    int64_t first = given.counts[0];
    for (size_t k = 1; k < given.counts.size(); first += given.counts[k], ++k) {
      Tensor other = given.inputs.clone();
      other.narrow(1, given.first_input(k), given.counts[k]) += 1;
      const Tensor changed = model->sequence().forward(other, given.condition);
      EXPECT_TRUE(at::equal(changed.slice(1, 0, first), z.slice(1, 0, first))) << enum_name(config.order) << k;
      const int64_t end = first + given.counts[k];
      EXPECT_GT(relative_l2(changed.slice(1, first, end), z.slice(1, first, end)), 1e-3)
          << enum_name(config.order) << k;
      if (end == given.all()) continue;
      const double after = relative_l2(changed.slice(1, end), z.slice(1, end));
      if (config.markov)
        EXPECT_EQ(after, 0) << k;  // each scale alone
      else
        EXPECT_GT(after, 1e-3) << enum_name(config.order) << k;
    }
  }
}

// With one scale there is no later token to hide from the buffer's rows but the scale itself.
TEST(Sequence, TheBufferSeesOnlyItself) {
  const at::NoGradGuard no_grad;
  ModelConfig config = tiny_config(Order::kNextScale);
  config.scales = {4};
  const auto model = lively_model(config);
  const Given given(*model);
  ASSERT_EQ(given.inputs.size(1), 0);
  const Tensor cache = model->sequence().cache(3);
  model->sequence().step(0, {}, given.condition, cache);
  for (const auto& [name, p] : model->params().items())
    if (name == "start") Tensor(p) += 1;
  const Tensor other = model->sequence().cache(3);
  model->sequence().step(0, {}, given.condition, other);
  EXPECT_TRUE(at::equal(cache.slice(3, 0, 2), other.slice(3, 0, 2)));
  EXPECT_FALSE(at::equal(cache.slice(3, 2), other.slice(3, 2)));
}

TEST(Sequence, PreparedComputesTheSame) {
  const at::NoGradGuard no_grad;
  ModelConfig config = next_scale();
  config.width = 64;
  const auto model = lively_model(config);
  const Given given(*model);
  const Tensor z = model->sequence().forward(given.inputs, given.condition);
  EXPECT_LT(relative_l2(model->sequence().prepared(Products::kPacked).forward(given.inputs, given.condition), z), 1e-5);
  EXPECT_LT(relative_l2(model->sequence().prepared(Products::kInt8).forward(given.inputs, given.condition), z), 2e-2);
}

TEST(Sequence, InputsOfAnotherNumberAreRefused) {
  const auto model = lively_model(next_scale());
  EXPECT_CONTAINS(error_of([&] {
                    model->sequence().forward(at::zeros({1, 21, 2}), model->conditions().null_condition(1));
                  }),
                  "inputs must be (B, 20, 2)");
}

TEST(ModelConfig, ErrorsNameTheScales) {
  const auto error = [](auto change) {
    ModelConfig c = next_scale();
    change(c);
    return error_of([&] { c.validate(); });
  };
  next_scale().validate();
  tiny_config(Order::kRaster).validate();
  EXPECT_CONTAINS(error([](auto& c) { c.scales = {1, 2, 3}; }), "scales must end at the side of the latent, 4, got 3");
  EXPECT_CONTAINS(error([](auto& c) { c.scales = {2, 2, 4}; }), "scales must increase, got 2 after 2");
  EXPECT_CONTAINS(error([](auto& c) {
                    c.patch = 2;
                    c.scales = {1, 4};
                  }),
                  "scales must be multiples of the patch, 2, got 1");
  EXPECT_CONTAINS(error([](auto& c) { c.scales = {0, 4}; }), "multiples of the patch, 1, got 0");
  EXPECT_CONTAINS(error([](auto& c) { c.latent_width = 8; }), "needs a square latent, got 4 x 8");
  EXPECT_CONTAINS(error([](auto& c) { c.scale_std = {1, 2}; }), "a number for each of the 3 scales, got 2");
  EXPECT_CONTAINS(error([](auto& c) { c.scale_std = {1, 2, 0}; }), "scale_std must be above 0, got 0");
  EXPECT_CONTAINS(error([](auto& c) { c.conditioning = Conditioning::kText; }), "conditioned on a class, not on text");
  EXPECT_CONTAINS(error([](auto& c) { c.predicts = Target::kNextLevel; }),
                  "the order next-scale has no frequency levels");
  for (const Order order : {Order::kFar, Order::kMar, Order::kRaster})
    EXPECT_CONTAINS(error([&](auto& c) { c.order = order; }),
                    "scales, residual, scale_std and markov belong to the order next-scale");
  EXPECT_CONTAINS(error([](auto& c) {
                    c.order = Order::kRaster;
                    c.scales = {};
                    c.residual = true;
                  }),
                  "belong to the order next-scale, and this model's is raster");
}

TEST(ModelConfig, ScalesDoubleWhereNoneAreGiven) {
  ModelConfig c;
  c.order = Order::kNextScale;
  EXPECT_EQ(c.sides(), (std::vector<int64_t>{1, 2, 4, 8, 16}));
  EXPECT_EQ(c.step_tokens(), (std::vector<int64_t>{1, 4, 16, 64, 256}));
  c.patch = 4;
  c.latent_height = c.latent_width = 12;
  EXPECT_EQ(c.sides(), (std::vector<int64_t>{4, 8, 12}));
  EXPECT_EQ(c.step_tokens(), (std::vector<int64_t>{1, 4, 9}));
  EXPECT_EQ(tiny_config(Order::kRaster).step_tokens(), std::vector<int64_t>(16, 1));
}

}  // namespace
}  // namespace crescendo
