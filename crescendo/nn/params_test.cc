#include "crescendo/nn/params.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/nn/layers.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

TEST(Params, SameSeedSameValuesInAnyOrder) {
  Params a = Params::random(3), b = Params::random(3), other = Params::random(4);
  const Tensor first = a.add("one", {4, 5}, Init::kXavierUniform), second = a.add("two", {4, 5}, Init::kXavierUniform);
  EXPECT_TRUE(at::equal(b.add("two", {4, 5}, Init::kXavierUniform), second));
  EXPECT_TRUE(at::equal(b.add("one", {4, 5}, Init::kXavierUniform), first));
  EXPECT_FALSE(at::equal(first, second));  // each name has a stream of its own
  EXPECT_FALSE(at::equal(other.add("one", {4, 5}, Init::kXavierUniform), first));
  EXPECT_EQ(a.count(), 40);
  EXPECT_EQ(a.bytes(), 160);
  EXPECT_EQ(b.items()[0].first, "two");
  a.finish();
}

TEST(Params, StreamsByOrderDependOnThePlaceAlone) {
  Params a = Params::random(3, Streams::kByOrder), b = Params::random(3, Streams::kByOrder);
  const Tensor first = a.add("one", {6}, Init::kNormal1), second = a.add("two", {6}, Init::kNormal1);
  EXPECT_TRUE(at::equal(b.add("other", {6}, Init::kNormal1), first));
  EXPECT_FALSE(at::equal(first, second));
}

// Threads share the drawing of a large one; its numbers are those of one stream from its first to its last.
TEST(Params, LargeOnesAreOneStreamWhateverTheThreads) {
  const auto drawn = [](int threads, Init init) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    const Tensor t = Params::random(5).add("large", {3, 70001}, init);
    at::set_num_threads(before);
    return t;
  };
  for (const Init init : {Init::kNormal1, Init::kXavierUniform}) {
    const Tensor one = drawn(1, init);
    EXPECT_TRUE(at::equal(drawn(2, init), one));
    // No part repeats another.
    EXPECT_FALSE(at::equal(one.view(-1).slice(0, 0, 1000), one.view(-1).slice(0, 1 << 16, (1 << 16) + 1000)));
  }
}

TEST(Params, InitialisationsHaveTheirSpread) {
  Params p = Params::random(1);
  EXPECT_TRUE(at::equal(p.add("zeros", {7}, Init::kZeros), at::zeros({7})));
  EXPECT_TRUE(at::equal(p.add("ones", {7}, Init::kOnes), at::ones({7})));
  const auto expect_uniform = [](const Tensor& t, double bound) {
    EXPECT_LE(t.abs().max().item<double>(), bound);
    EXPECT_GT(t.abs().max().item<double>(), 0.99 * bound);
    EXPECT_NEAR(t.std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
    EXPECT_NEAR(t.mean().item<double>(), 0, 0.02 * bound);
  };
  expect_uniform(p.add("xavier", {100, 200}, Init::kXavierUniform), std::sqrt(6.0 / 300));
  expect_uniform(p.add("convolution", {40, 10, 5, 5}, Init::kKaimingUniform), 1 / std::sqrt(250.0));
  EXPECT_NEAR(p.add("small", {100, 200}, Init::kNormal002).std().item<double>(), 0.02, 0.0004);
  EXPECT_NEAR(p.add("normal", {100, 200}, Init::kNormal1).std().item<double>(), 1, 0.02);
}

TEST(Params, NumbersThatAreNotFiniteAreRefused) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Tensor weight = at::ones({2, 3}, type);
    weight[1][2] = NAN;
    EXPECT_CONTAINS(test::error_of([&] {
                      Params p = Params::from({{"fc.weight", weight}, {"fc.bias", at::ones({2})}}, "a file");
                      const Linear fc(Scope(p) / "fc", 3, 2);
                    }),
                    "a file: of the 6 elements of fc.weight 1 are NaN or infinite");
  }
}

TEST(Params, TakesTensorsAsTheyAre) {
  const Tensor weight = at::randn({2, 3}), bias = at::randn({2});
  Params p = Params::from({{"fc.weight", weight}, {"fc.bias", bias}}, "file");
  const Linear fc(Scope(p) / "fc", 3, 2);
  p.finish();
  EXPECT_EQ(fc.weight.data_ptr(), weight.data_ptr());
  EXPECT_EQ(fc.bias.data_ptr(), bias.data_ptr());
  EXPECT_EQ(p.map().size(), 2u);
}

TEST(Params, ErrorListsWhatIsMissingSurplusAndMisshapen) {
  Params p = Params::from({{"a", at::zeros({2, 3})}, {"b", at::zeros({2}, at::kLong)}, {"extra", at::zeros({5})}},
                          "x.safetensors");
  p.add("a", {3, 2}, Init::kZeros);
  p.add("b", {2}, Init::kZeros);
  p.add("c", {4}, Init::kZeros);
  const std::string error = error_of([&] { p.finish(); });
  EXPECT_CONTAINS(error, "x.safetensors does not hold the weights of this model:");
  EXPECT_CONTAINS(error, "a has shape [2, 3], expected [3, 2]");
  EXPECT_CONTAINS(error, "b is not a floating-point tensor");
  EXPECT_CONTAINS(error, "missing c [4]");
  EXPECT_CONTAINS(error, "surplus extra [5]");
}

TEST(Params, EveryTensorThatDoesNotFitIsNamed) {
  TensorMap many;
  for (int i = 0; i < 40; ++i) many["t" + std::to_string(i)] = at::zeros({1});
  const std::string error = error_of([&] { Params::from(many, "x").finish(); });
  for (const auto& [name, tensor] : many) EXPECT_CONTAINS(error, "surplus " + name + " [1]");
}

TEST(Params, IgnoredPrefixesMayStay) {
  Params p = Params::from({{"a", at::zeros({1})}, {"loss.w", at::zeros({1})}}, "x", {"loss."});
  p.add("a", {1}, Init::kZeros);
  p.finish();
}

TEST(Params, ConversionReachesTheModulesThatHoldThem) {
  Params p = Params::random(1);
  const Linear fc(Scope(p), 3, 2);
  p.to(at::kCPU, at::kBFloat16);
  EXPECT_EQ(fc.weight.scalar_type(), at::kBFloat16);
  EXPECT_EQ(fc(at::ones({1, 3}, at::kBFloat16)).scalar_type(), at::kBFloat16);
  p.set_requires_grad(true);
  EXPECT_TRUE(fc.weight.requires_grad());
}

TEST(Scope, JoinsNamesByDots) {
  Params p = Params::random(1);
  (Scope(p) / "blocks" / 3 / "attn").add("qkv", {1}, Init::kZeros);
  Scope(p).add("top", {1}, Init::kZeros);
  EXPECT_EQ(p.items()[0].first, "blocks.3.attn.qkv");
  EXPECT_EQ(p.items()[1].first, "top");
}

}  // namespace
}  // namespace crescendo
