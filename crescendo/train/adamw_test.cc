#include "crescendo/train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>  // backward() needs autograd linked in

#include <cmath>

#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

// A matrix that decays, and the three kinds that do not. Sizes that are no multiple of the alignment.
Params small_params() {
  Params p = Params::random(1);
  p.add("block.weight", {3, 7}, Init::kNormal1);
  p.add("block.bias", {3}, Init::kNormal1);
  p.add("norm.weight", {5}, Init::kNormal1);
  p.add("diffloss.net.linear.weight", {2, 9}, Init::kNormal1);
  return p;
}

// loss = sum of c_k . p_k, so that the gradient of p_k is c_k, other at each step.
Tensor coefficients(const Tensor& p, size_t k, int64_t step) {
  return at::randn(p.sizes(), at::make_generator<at::CPUGeneratorImpl>(100 * k + static_cast<uint64_t>(step)));
}
void accumulate(const Params& params, int64_t step) {
  Tensor loss = at::zeros({});
  size_t k = 0;
  for (const auto& [name, p] : params.items()) loss = loss + (p * coefficients(p.detach(), k++, step)).sum();
  loss.backward();
}

TEST(AdamW, FollowsTheFormula) {
  Params params = small_params();
  const AdamWOptions o{.beta1 = 0.8, .beta2 = 0.9, .eps = 1e-3, .weight_decay = 0.1};
  AdamW optimizer(params, o);
  constexpr double kRate = 0.05, kScale = 0.5;
  struct Expected {
    Tensor p, m, v;
  };
  std::vector<Expected> expected;
  for (const auto& [name, p] : params.items()) {
    const Tensor d = p.detach().to(at::kDouble);
    expected.push_back({d.clone(), at::zeros_like(d), at::zeros_like(d)});
  }
  for (int64_t step = 1; step <= 5; ++step) {
    optimizer.zero_grad();
    accumulate(params, step);
    optimizer.step(kRate, kScale);
    const auto n = static_cast<double>(step);
    for (size_t k = 0; k < expected.size(); ++k) {
      auto& [p, m, v] = expected[k];
      const Tensor g = coefficients(params.items()[k].second.detach(), k, step).to(at::kDouble) * kScale;
      m = o.beta1 * m + (1 - o.beta1) * g;
      v = o.beta2 * v + (1 - o.beta2) * g * g;
      if (k == 0) p = p * (1 - kRate * o.weight_decay);  // block.weight alone decays
      p = p - kRate * (m / (1 - std::pow(o.beta1, n))) / ((v / (1 - std::pow(o.beta2, n))).sqrt() + o.eps);
      EXPECT_LT(test::relative_l2(params.items()[k].second, p), 1e-6) << params.items()[k].first << ", step " << step;
    }
  }
  EXPECT_EQ(optimizer.steps(), 5);
  EXPECT_LT(test::relative_l2(optimizer.state().at("exp_avg_sq.norm.weight"), expected[2].v), 1e-6);
}

TEST(AdamW, DecaysMatricesOutsideTheHead) {
  const Tensor matrix = at::zeros({2, 2}), vector = at::zeros({2});
  EXPECT_TRUE(decays_as_published("encoder_blocks.0.attn.qkv.weight", matrix));
  EXPECT_TRUE(decays_as_published("class_emb.weight", matrix));
  EXPECT_FALSE(decays_as_published("encoder_norm.weight", vector));
  EXPECT_FALSE(decays_as_published("z_proj.bias", vector));
  EXPECT_FALSE(decays_as_published("diffloss.net.input_proj.weight", matrix));
  EXPECT_FALSE(decays_as_published("some.bias", matrix));
}

// Gradients land in the flat buffer, and modules that hold a parameter see every update.
TEST(AdamW, ParametersStayViews) {
  const auto model = test::lively_model(test::tiny_config());
  const TensorMap before = model->params().map();
  TensorMap values;
  for (const auto& [name, p] : before) values[name] = p.clone();
  AdamW optimizer(model->params(), {});
  for (const auto& [name, p] : model->params().items()) {
    EXPECT_TRUE(at::equal(p, values.at(name))) << name;
    EXPECT_TRUE(p.is_alias_of(optimizer.flat_parameters())) << name;
    EXPECT_TRUE(before.at(name).is_alias_of(optimizer.flat_parameters())) << name;
  }
  const Tensor labels = at::tensor({int64_t{1}});
  const Tensor condition = model->backbone().class_condition(labels).detach().clone();
  optimizer.zero_grad();
  EXPECT_EQ(optimizer.grad_norm(), 0);
  model->backbone().class_condition(labels).sum().backward();
  model->backbone().class_condition(labels).sum().backward();
  EXPECT_NEAR(optimizer.grad_norm(), 2 * std::sqrt(8.0), 1e-5);  // two passes add up: 8 entries of 2
  optimizer.step(0.1);
  EXPECT_GT((model->backbone().class_condition(labels) - condition).abs().min().item<double>(), 0.05);
  optimizer.zero_grad();
  EXPECT_EQ(optimizer.grad_norm(), 0);
}

TEST(AdamW, NormTellsWhatIsNotFinite) {
  Params params = small_params();
  AdamW optimizer(params, {});
  optimizer.zero_grad();
  (params.map().at("norm.weight") * NAN).sum().backward();
  EXPECT_FALSE(std::isfinite(optimizer.grad_norm()));
}

// Summed in fp32 the small squares are lost beside the sum of those before.
TEST(AdamW, NormOfALargeModelsGradient) {
  constexpr int64_t kCount = int64_t{1} << 26;
  Tensor flat = at::full({kCount}, 0.0123);
  const double expected = 0.0123 * std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(l2_norm(flat), expected, 1e-6 * expected);
  flat[kCount - 1] = INFINITY;
  EXPECT_FALSE(std::isfinite(l2_norm(flat)));
  flat[kCount - 1] = NAN;
  EXPECT_FALSE(std::isfinite(l2_norm(flat)));
  // Sizes that are no multiple of anything, and squares that fp32 cannot hold.
  for (const int64_t size : {0, 1, 7, 9, 32767, 32769, 100003})
    EXPECT_NEAR(l2_norm(at::full({size}, 1e30)), 1e30 * std::sqrt(static_cast<double>(size)), 1e26) << size;
  EXPECT_NEAR(l2_norm(at::full({9}, 1e-30)), 3e-30, 1e-36);
}

TEST(AdamW, StateGoesRound) {
  Params a = small_params(), b = small_params();
  AdamW first(a, {}), second(b, {});
  const auto step = [](AdamW& optimizer, const Params& params, int64_t n) {
    optimizer.zero_grad();
    accumulate(params, n);
    optimizer.step(0.01);
  };
  for (int64_t n = 1; n <= 3; ++n) step(first, a, n);
  {
    const at::NoGradGuard no_grad;
    for (size_t k = 0; k < a.items().size(); ++k) Tensor(b.items()[k].second).copy_(a.items()[k].second);
  }
  second.load_state(first.state(), first.steps(), "state");
  step(first, a, 4);
  step(second, b, 4);
  EXPECT_TRUE(at::equal(first.flat_parameters(), second.flat_parameters()));

  TensorMap torn = first.state();
  torn.erase("exp_avg.norm.weight");
  EXPECT_CONTAINS(test::error_of([&] { second.load_state(torn, 1, "state"); }), "state lacks exp_avg.norm.weight");
  torn["exp_avg.norm.weight"] = at::zeros({4});
  EXPECT_CONTAINS(test::error_of([&] { second.load_state(torn, 1, "state"); }), "has shape [4], expected [5]");
}

// The decay of update n is min(decay, (1 + n) / (10 + n)), or the decay throughout.
void expect_average(bool warmup) {
  Params params = small_params();
  AdamW optimizer(params, {});
  Ema ema(optimizer, 0.3, warmup);
  Tensor expected = params.map().at("norm.weight").detach().to(at::kDouble);
  for (int64_t n = 0; n < 5; ++n) {
    {
      const at::NoGradGuard no_grad;
      Tensor(params.map().at("norm.weight")).add_(1.0);
    }
    ema.update(optimizer);
    const double decay = warmup ? std::min(0.3, (1 + static_cast<double>(n)) / (10 + static_cast<double>(n))) : 0.3;
    expected = decay * expected + (1 - decay) * params.map().at("norm.weight").detach().to(at::kDouble);
    EXPECT_LT(test::relative_l2(ema.state(optimizer).at("norm.weight"), expected), 1e-6) << n;
  }
  EXPECT_EQ(ema.updates(), 5);
  // Its own memory: the weights did not follow the average, nor it the weights.
  EXPECT_FALSE(ema.state(optimizer).at("norm.weight").is_alias_of(optimizer.flat_parameters()));

  Ema copy(optimizer, 0.3, warmup);
  copy.load_state(optimizer, ema.state(optimizer, "ema."), "ema.", ema.updates(), "state");
  ema.update(optimizer);
  copy.update(optimizer);
  EXPECT_TRUE(at::equal(copy.state(optimizer).at("norm.weight"), ema.state(optimizer).at("norm.weight")));
}
TEST(Ema, AveragesWithAWarmUp) { expect_average(true); }
TEST(Ema, AveragesWithoutOne) { expect_average(false); }

}  // namespace
}  // namespace crescendo
