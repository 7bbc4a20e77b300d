#include "crescendo/diffusion/head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/core/torch_compat.h"
#include "crescendo/diffusion/gaussian.h"
#include "crescendo/io/safetensors.h"
#include "tests/fixture_weights.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

// The head of far_micro and what the published code says about it.
struct Fixture {
  TensorMap expected = test::fixture_expected("far_micro");
  Params params = Params::from(test::fixture_weights("far_micro", "diffloss."), "far_micro");
  Head head{Scope(params) / "diffloss.net", {16, 64, 48, 2, true}};
  const Tensor& operator[](const char* name) const { return expected.at(name); }
  Tensor answer(const Tensor& x) const {
    return head.forward(x, head.condition(expected.at("head.c"), expected.at("head.index")) +
                               head.time_embedding(expected.at("head.t")));
  }
};

TEST(Head, MatchesThePublishedOne) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const Fixture f;
  f.params.finish();
  EXPECT_LT(relative_l2(f.answer(f["head.x"]), f["head.out"]), 1e-5);
}

TEST(Head, LossMatchesThePublishedOne) {
  CRESCENDO_NEEDS_SHARED("fixtures/far_micro");
  const Fixture f;
  const Tensor x_t = q_sample(f["loss.target"], f["head.t"], f["loss.noise"]);
  const DiffusionLoss loss = diffusion_loss(f.answer(x_t), f["loss.target"], x_t, f["head.t"], f["loss.noise"]);
  EXPECT_LT(relative_l2(loss.mse, f["loss.mse"]), 1e-5);
  EXPECT_LT(relative_l2(loss.vb, f["loss.vb"]), 1e-5);
  EXPECT_LT(relative_l2(loss.mse + loss.vb, f["loss.loss"]), 1e-5);
  // Per token as well: the step at t = 0 has a formula of its own, which a large neighbour must not hide.
  for (int64_t i = 0; i < 7; ++i) {
    EXPECT_LT(relative_l2(loss.mse[i], f["loss.mse"][i]), 1e-5) << "t = " << f["head.t"][i].item<int64_t>();
    EXPECT_LT(relative_l2(loss.vb[i], f["loss.vb"][i]), 1e-5) << "t = " << f["head.t"][i].item<int64_t>();
  }
}

// Every adaLN output and the last layer start at zero, so an untrained head answers zero whatever it is asked.
TEST(Head, StartsAtZero) {
  Params params = Params::random(1);
  const Head head(Scope(params) / "diffloss.net", {4, 8, 12, 2, true});
  const Tensor y =
      head.condition(at::randn({3, 8}), at::ones({3, 1})) + head.time_embedding(at::tensor({0, 5, 999}, at::kLong));
  EXPECT_EQ(head.forward(at::randn({3, 4}), y).abs().max().item<double>(), 0);
  EXPECT_GT(y.abs().max().item<double>(), 0);
}

// A small head with every parameter drawn from the normal distribution.
struct Small {
  explicit Small(bool level_input) : head(Scope(params), {4, 8, 12, 2, level_input}) {
    uint64_t seed = 1;
    for (const auto& [name, p] : params.items())
      p.copy_(at::randn(p.sizes(), at::make_generator<at::CPUGeneratorImpl>(seed++)) * 0.3);
  }
  Params params = Params::random(1);
  Head head;
};

TEST(Head, TimeIsToldByCosinesThenSines) {
  const Small small(true);
  const TensorMap p = small.params.map();
  for (const double t : {0.0, 1.0, 37.0, 999.0}) {
    std::vector<float> angles(256);
    for (size_t k = 0; k < 128; ++k) {
      const double angle = t * std::exp(-std::log(10000.0) * static_cast<double>(k) / 128);
      angles[k] = static_cast<float>(std::cos(angle));
      angles[128 + k] = static_cast<float>(std::sin(angle));
    }
    const Tensor hidden =
        at::silu(at::mv(p.at("time_embed.mlp.0.weight"), at::tensor(angles)) + p.at("time_embed.mlp.0.bias"));
    const Tensor expected = at::mv(p.at("time_embed.mlp.2.weight"), hidden) + p.at("time_embed.mlp.2.bias");
    EXPECT_LT(relative_l2(small.head.time_embedding(at::full({1}, t))[0], expected), 1e-4) << t;
  }
  EXPECT_TRUE(
      at::equal(small.head.time_embedding(at::tensor({7}, at::kLong)), small.head.time_embedding(at::full({1}, 7.0))));
}

TEST(Head, ConditionIsASumSoTheLevelShiftsIt) {
  const Small small(true);
  const TensorMap p = small.params.map();
  const Tensor z = at::randn({3, 8});
  const Tensor at2 = small.head.condition(z, at::full({3, 1}, 2.0)),
               at5 = small.head.condition(z, at::full({3, 1}, 5.0));
  EXPECT_LT(relative_l2(at5 - at2, 3 * p.at("index_cond_embed.weight").view({1, 12}).expand({3, 12})), 1e-4);
  EXPECT_LT(relative_l2(small.head.condition(z, at::full({1, 1}, 2.0)), at2), 1e-6);  // one level for all rows
}

TEST(Head, WithoutLevelInputThereIsNoSuchParameter) {
  const Small small(false);
  EXPECT_EQ(small.params.map().count("index_cond_embed.weight"), 0u);
  const Tensor z = at::randn({3, 8});
  EXPECT_TRUE(at::equal(small.head.condition(z, at::zeros({3, 1})), small.head.condition(z, at::ones({3, 1}))));
}

// Rows do not see each other, and a condition of one row serves all.
TEST(Head, RowsAreIndependent) {
  const Small small(true);
  const Tensor x = at::randn({5, 4}), y = at::randn({5, 12}), out = small.head.forward(x, y);
  EXPECT_EQ(out.sizes(), (std::vector<int64_t>{5, 8}));
  for (int64_t i = 0; i < 5; ++i)
    EXPECT_LT(relative_l2(small.head.forward(x.slice(0, i, i + 1), y.slice(0, i, i + 1))[0], out[i]), 1e-5);
  const Tensor shared = small.head.forward(x, y.slice(0, 0, 1));
  EXPECT_LT(relative_l2(shared, small.head.forward(x, y.slice(0, 0, 1).expand({5, 12}))), 1e-5);
}

// At t = 999 a sampler multiplies an error in eps by hundreds, so only the branches may be rounded to bf16.
TEST(Head, WayThroughIsInFp32) {
  Small small(true);
  const Tensor x = at::randn({5, 4}), y = at::randn({5, 12});
  const auto mixed = [&] {
    const Autocast autocast(at::kCPU, at::kBFloat16);
    return small.head.forward(x, y);
  };
  EXPECT_GT(relative_l2(mixed(), small.head.forward(x, y)), 1e-5);
  for (const auto& [name, p] : small.params.items())  // no branches: their gates are the last third
    if (name.find("res_blocks") != std::string::npos && name.find("adaLN_modulation") != std::string::npos)
      p.narrow(0, 24, 12).zero_();
  EXPECT_LT(relative_l2(mixed(), small.head.forward(x, y)), 1e-6);
  const Tensor expected = small.head.forward(x, y);
  small.params.to(at::kCPU, at::kBFloat16);  // weights alone are rounded, x and the sums are not
  const Tensor rounded = small.head.forward(x, y.to(at::kBFloat16));
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  const Tensor finer = small.head.forward(x + 1e-4, y.to(at::kBFloat16));
  EXPECT_GT((finer - rounded).abs().max().item<double>(), 0);  // bf16 would not tell these apart
  EXPECT_LT(relative_l2(rounded, expected), 0.05);
}

}  // namespace
}  // namespace crescendo
