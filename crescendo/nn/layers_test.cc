#include "crescendo/nn/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

TEST(Layers, LinearIsTheProduct) {
  Params p = Params::random(1);
  const Linear fc(Scope(p), 3, 2);
  fc.bias.copy_(at::tensor({1.0f, -1.0f}));
  const Tensor x = at::randn({4, 5, 3});
  EXPECT_LT(relative_l2(fc(x), at::matmul(x, fc.weight.t()) + fc.bias), 1e-6);
}

TEST(Layers, LayerNormHasMeanZeroAndDeviationOne) {
  const LayerNorm norm(64, 1e-6);
  const Tensor y = norm(at::randn({10, 64}) * 3 + 5);
  EXPECT_LT(y.mean(1).abs().max().item<double>(), 1e-5);
  EXPECT_LT((y.var(1, /*unbiased=*/false) - 1).abs().max().item<double>(), 1e-4);
  Params p = Params::random(1);
  const LayerNorm affine(Scope(p), 64, 1e-6);
  affine.weight.fill_(2);
  affine.bias.fill_(0.5);
  const Tensor x = at::randn({3, 64});
  EXPECT_LT(relative_l2(affine(x), norm(x) * 2 + 0.5), 1e-6);
}

// Row by row, as the formula reads.
TEST(Layers, LayerNormInBf16RoundsItsResultAlone) {
  Params params = Params::random(1);
  LayerNorm norm(Scope(params) / "norm", 96, 1e-6);
  for (const auto& [name, p] : params.items()) p.copy_(at::randn(p.sizes()).to(at::kBFloat16));
  const Tensor x = at::randn({4, 96}).to(at::kBFloat16), exact = norm(x.to(at::kFloat));
  params.to(at::kCPU, at::kBFloat16);
  const Tensor got = norm(x);
  EXPECT_EQ(got.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::allclose(got.to(at::kFloat), exact.to(at::kBFloat16).to(at::kFloat), 1e-6, 1e-6));
}

TEST(Layers, AttentionIsTheWeightedMean) {
  const Tensor q = at::randn({2, 3, 5, 8}), k = at::randn({2, 3, 7, 8}), v = at::randn({2, 3, 7, 8});
  const Tensor out = attention(q, k, v, std::nullopt, {});
  ASSERT_EQ(out.sizes(), q.sizes());
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 3; ++h)
      for (int64_t n = 0; n < 5; ++n) {
        const Tensor w = (at::mv(k[b][h], q[b][h][n]) / std::sqrt(8.0)).exp();  // (7)
        EXPECT_LT(relative_l2(out[b][h][n], at::mv(v[b][h].t(), w / w.sum())), 1e-5);
      }
}

TEST(Layers, AttentionIgnoresWhatTheBiasForbids) {
  const Tensor q = at::randn({2, 3, 5, 8}), k = at::randn({2, 3, 7, 8}), v = at::randn({2, 3, 7, 8});
  Tensor bias = at::zeros({2, 1, 1, 7});
  bias.slice(3, 4).fill_(-std::numeric_limits<double>::infinity());
  EXPECT_LT(
      relative_l2(attention(q, k, v, bias, {}), attention(q, k.slice(2, 0, 4), v.slice(2, 0, 4), std::nullopt, {})),
      1e-6);
}

TEST(Layers, AttentionOfNothing) {
  const Tensor k = at::randn({2, 3, 7, 8});
  EXPECT_EQ(attention(at::zeros({2, 3, 0, 8}), k, k, std::nullopt, {}).sizes(), (std::vector<int64_t>{2, 3, 0, 8}));
  const Tensor none = at::zeros({2, 3, 0, 8});
  EXPECT_EQ(attention(none, none, none, std::nullopt, {}).numel(), 0);
}

// Without gradients it is one pass on a CPU, for heads as split_heads() leaves them.
TEST(Layers, AttentionInOnePassIsTheSame) {
  const Tensor queries = at::randn({2, 5, 24}), keys = at::randn({2, 9, 48});
  const auto kv = keys.chunk(2, -1);
  const Tensor q = split_heads(queries, 3), k = split_heads(kv[0], 3), v = split_heads(kv[1], 3);
  Tensor padding = at::zeros({2, 1, 1, 9});
  padding[0].slice(2, 6).fill_(-std::numeric_limits<double>::infinity());
  const Tensor everywhere = at::randn({2, 3, 5, 9});  // a bias that is no row of the keys
  for (const auto& bias : {std::optional<Tensor>(), std::optional(padding), std::optional(everywhere)}) {
    const Tensor as_written = attention(q, k, v, bias, {});
    const at::NoGradGuard no_grad;
    const Tensor out = attention(q, k, v, bias, {});
    EXPECT_LT(relative_l2(out, as_written), 1e-6);
    EXPECT_TRUE(at::equal(merge_heads(out), out.transpose(1, 2).reshape({2, 5, 24})));
    EXPECT_LT(relative_l2(attention(q.contiguous(), k, v, bias, {}), as_written), 1e-6);
  }
  const at::NoGradGuard no_grad;
  EXPECT_NE(relative_l2(attention(q, k, v, std::nullopt, {.rate = 0.5}), attention(q, k, v, std::nullopt, {})), 0);
}

struct WithBias {
  WithBias(int64_t in, int64_t out) : fc(Scope(params), in, out) { fc.bias.copy_(at::randn({out})); }
  Params params = Params::random(1);
  Linear fc;
};

TEST(Layers, APackedLinearIsTheSame) {
  WithBias layer(21, 40);
  Linear& fc = layer.fc;
  const Tensor x = at::randn({3, 5, 42}).slice(2, 0, 21);
  const Tensor expected = fc(x);
  fc.prepare(Products::kPacked);
  {
    const at::NoGradGuard no_grad;
    EXPECT_LT(relative_l2(fc(x), expected), 1e-6);
    EXPECT_EQ(fc(x).sizes(), (std::vector<int64_t>{3, 5, 40}));
    EXPECT_EQ(fc(at::zeros({0, 21})).sizes(), (std::vector<int64_t>{0, 40}));
  }
  // Gradients go to the weight itself, which may have changed.
  fc.weight.mul_(2);
  EXPECT_LT(relative_l2(fc(x) - fc.bias, (expected - fc.bias) * 2), 1e-6);
}

TEST(Layers, ALinearInPlaceIsTheSame) {
  const at::NoGradGuard no_grad;
  WithBias layer(576, 512);
  Linear& fc = layer.fc;
  const Tensor x = at::randn({2, 130, 576}), expected = fc(x);
  fc.prepare(Products::kPacked);
  fc.prepare(Products::kInPlace);  // in place of that
  EXPECT_LT(relative_l2(fc(x), expected), 2e-6);
}

TEST(Layers, ALinearInInt8IsNear) {
  const at::NoGradGuard no_grad;
  WithBias layer(300, 900);
  const Tensor x = at::randn({2, 50, 300}), expected = layer.fc(x);
  layer.fc.prepare(Products::kInt8);
  const double error = relative_l2(layer.fc(x), expected);
  EXPECT_LT(error, 0.02);
  EXPECT_GT(error, 1e-4);
  EXPECT_EQ(layer.fc(at::zeros({0, 300})).sizes(), (std::vector<int64_t>{0, 900}));
}

TEST(Layers, HeadsSplitAndMerge) {
  const Tensor x = at::randn({2, 5, 12});
  const Tensor split = split_heads(x, 3);
  ASSERT_EQ(split.sizes(), (std::vector<int64_t>{2, 3, 5, 4}));
  EXPECT_TRUE(at::equal(split[1][2][4], x[1][4].slice(0, 8, 12)));  // head 2 is channels 8..11
  EXPECT_TRUE(at::equal(merge_heads(split), x));
}

TEST(Layers, DropoutDropsAndKeepsTheMean) {
  const Tensor x = at::ones({100000});
  EXPECT_TRUE(at::equal(Dropout{}(x), x));
  const Tensor y = Dropout{0.25}(x);
  EXPECT_NEAR((y == 0).to(at::kFloat).mean().item<double>(), 0.25, 0.01);
  EXPECT_NEAR(y.mean().item<double>(), 1, 0.01);
}

// One pass without gradients.
TEST(LayerNorm, OfAStreamIsTheSameInOnePass) {
  Params params = Params::random(1);
  const LayerNorm affine(Scope(params) / "norm", 50, 1e-6), plain(50, 1e-5);
  affine.weight.copy_(at::randn({50}));
  affine.bias.copy_(at::randn({50}));
  for (const LayerNorm* norm : {&affine, &plain}) {
    const Tensor x = at::randn({2, 3, 50}) + 4, branch = at::randn({2, 3, 50});
    const Tensor expected = (*norm)(x + branch);
    const at::NoGradGuard no_grad;
    ResidualStream stream{x, branch};
    EXPECT_LT(relative_l2((*norm)(stream), expected), 1e-6);
    EXPECT_TRUE(at::equal(stream.x, x + branch));
    EXPECT_FALSE(stream.branch.defined());
  }
}

TEST(LayerNorm, OfAStreamAddsItsBranchFirst) {
  Params params = Params::random(1);
  const LayerNorm norm(Scope(params) / "norm", 6, 1e-6);
  const Tensor x = at::randn({2, 3, 6}), branch = at::randn({2, 3, 6});
  ResidualStream stream{x, branch};
  EXPECT_TRUE(at::equal(norm(stream), norm(x + branch)));
  EXPECT_TRUE(at::equal(stream.x, x + branch));
  EXPECT_FALSE(stream.branch.defined());
  EXPECT_TRUE(at::equal(norm(stream), norm(x + branch)));  // nothing is added twice
}

TEST(RmsNorm, IsItsEquationInTheTypeOfItsInput) {
  Params p = Params::from({{"weight", at::arange(1, 5, at::kFloat)}}, "file");
  const RmsNorm norm(Scope(p), 4, 0.5);
  const Tensor x = at::randn({3, 4}, at::kDouble), weight = at::arange(1, 5, at::kDouble);
  const Tensor expected = x / (x.square().mean(-1, true) + 0.5).sqrt() * weight;
  EXPECT_LT((norm(x) - expected).abs().max().item<double>(), 1e-12);
  EXPECT_LT((norm(x.to(at::kFloat)) - expected).abs().max().item<double>(), 1e-5);
  const Tensor coarse = norm(x.to(at::kBFloat16));
  EXPECT_EQ(coarse.scalar_type(), at::kBFloat16);
  EXPECT_LT((coarse - expected).abs().max().item<double>(), 0.1);
}

}  // namespace
}  // namespace crescendo
