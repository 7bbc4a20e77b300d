#include "crescendo/engine/fused_head.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

struct Random {
  explicit Random(const HeadConfig& config) : head(Scope(params), config) {
    uint64_t seed = 1;
    for (const auto& [name, p] : params.items())
      p.copy_(at::randn(p.sizes(), at::make_generator<at::CPUGeneratorImpl>(seed++)) * 0.3);
  }
  Params params = Params::random(1);
  Head head;
};

// A step of the head as it is written, and as the fused one computes it in a plan of several.
struct Steps {
  Steps(const HeadConfig& config, int64_t rows, int64_t count)
      : x(at::randn({count, rows, config.token_channels})),
        y(at::randn({rows, config.width})),
        times(at::randn({count, config.width})) {}
  Tensor x, y, times;
};

// A small head, begun with rows of its own.
struct Begun {
  Begun(int64_t rows, int64_t count) : random(kConfig), fused(random.head), steps(kConfig, rows, count) {
    fused.begin(steps.y, steps.times);
  }
  static constexpr HeadConfig kConfig{4, 8, 12, 2, true};
  const at::NoGradGuard no_grad;
  Random random;
  FusedHead fused;
  Steps steps;
};

// Odd widths, one block and several, one row and more than a task's; few rows, whose steps share their modulations, and
// so many that none do. Narrow heads have packed weights, wide ones large weights in place.
TEST(FusedHead, IsTheHead) {
  const at::NoGradGuard no_grad;
  for (const HeadConfig& config :
       {HeadConfig{4, 8, 12, 2, true}, {3, 5, 37, 1, false}, {16, 24, 64, 3, true}, {4, 8, 520, 1, true}}) {
    const Random random(config);
    FusedHead fused(random.head);
    for (const auto& [rows, count] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {50, 3}, {7, 5}, {7, 100}, {200, 5}, {512, 2}, {600, 2}, {7, 4}}) {
      const Steps steps(config, rows, count);
      fused.begin(steps.y, steps.times);
      for (int64_t i = count - 1; i >= 0; --i) {
        const Tensor expected = random.head.forward(steps.x[i], steps.y + steps.times[i]),
                     got = fused.forward(steps.x[i], i);
        ASSERT_EQ(got.sizes(), expected.sizes());
        ASSERT_LT(relative_l2(got, expected), 2e-6) << config.width << " wide, " << rows << " rows, step " << i;
      }
    }
  }
}

TEST(FusedHead, InInt8IsNearTheHead) {
  const at::NoGradGuard no_grad;
  const HeadConfig config{16, 24, 64, 3, true};
  const Random random(config);
  FusedHead exact(random.head), rounded(random.head, /*int8=*/true);
  const Steps steps(config, 40, 3);
  exact.begin(steps.y, steps.times);
  rounded.begin(steps.y, steps.times);
  for (int64_t i = 2; i >= 0; --i) {
    const double error = relative_l2(rounded.forward(steps.x[i], i), exact.forward(steps.x[i], i));
    EXPECT_LT(error, 0.05) << i;
    EXPECT_GT(error, 1e-5) << i;
  }
}

// Guidance: conditional and unconditional rows are asked of one x.
TEST(FusedHead, TakesOneXForSeveralConditions) {
  Begun b(30, 2);
  const Tensor x = b.steps.x[1].slice(0, 0, 15);
  EXPECT_TRUE(at::equal(b.fused.forward(x, 1), b.fused.forward(at::cat({x, x}), 1)));
}

// Two with the same weights do not write over each other's numbers.
TEST(FusedHead, HasBuffersOfItsOwn) {
  Begun one(40, 3);
  const Tensor expected = one.fused.forward(one.steps.x[1], 1);
  FusedHead other = one.fused.with_own_buffers();
  one.fused.begin(one.steps.y, one.steps.times);
  one.fused.forward(one.steps.x[2], 2);
  const Steps others(Begun::kConfig, 40, 3);
  other.begin(others.y, others.times);
  other.forward(others.x[2], 2);
  EXPECT_TRUE(at::equal(one.fused.forward(one.steps.x[1], 1), expected));
}

TEST(FusedHead, TakesStepsInAnyOrder) {
  Begun b(100, 20);
  for (const int64_t i : {19, 18, 18, 3, 4, 0, 19}) {
    const Tensor expected = b.random.head.forward(b.steps.x[i], b.steps.y + b.steps.times[i]);
    EXPECT_LT(relative_l2(b.fused.forward(b.steps.x[i], i), expected), 2e-6) << i;
  }
  EXPECT_CONTAINS(error_of([&] { b.fused.forward(b.steps.x[0], 20); }),
                  "100 rows at inner step 20, begun with 100 rows");
  EXPECT_CONTAINS(error_of([&] { b.fused.forward(b.steps.x[0].slice(0, 0, 9), 1); }), "9 rows at inner step 1");
}

TEST(FusedHead, Guides) {
  Begun b(30, 2);
  const Tensor x = b.steps.x[1].slice(0, 0, 15), scale = at::full({1}, 2.5f), out = b.fused.forward(x, 1),
               u = out.slice(0, 15).slice(1, 0, x.size(1)), c = out.slice(0, 0, 15).slice(1, 0, x.size(1));
  const Denoised got = b.fused.guided(x, 1, scale);
  EXPECT_LT(relative_l2(got.eps, u + 2.5 * (c - u)), 1e-6);
  EXPECT_TRUE(at::equal(got.variance_fraction, out.slice(0, 0, 15).slice(1, x.size(1))));
  EXPECT_CONTAINS(error_of([&] { b.fused.guided(b.steps.x[1], 1, scale); }), "30 guided rows, begun with 30");
}

// In bf16 both round, each in places of its own: as near to fp32 as the head as it is written, whose sums round too.
TEST(FusedHead, InBf16IsAsNearAsTheHead) {
  const at::NoGradGuard no_grad;
  const HeadConfig config{16, 24, 64, 3, true};
  const Random exact(config);
  Random rounded(config);
  rounded.params.to(at::kCPU, at::kBFloat16);
  const Steps steps(config, 200, 4);
  FusedHead fused(rounded.head);
  fused.begin(steps.y.to(at::kBFloat16), steps.times.to(at::kBFloat16));
  for (int64_t i = 3; i >= 0; --i) {
    const Tensor expected = exact.head.forward(steps.x[i], steps.y + steps.times[i]);
    const double plain = relative_l2(
        rounded.head.forward(steps.x[i], (steps.y + steps.times[i]).to(at::kBFloat16)).to(at::kFloat), expected);
    const Tensor got = fused.forward(steps.x[i], i);
    EXPECT_EQ(got.scalar_type(), at::kFloat);
    EXPECT_LT(relative_l2(got, expected), plain) << i;
    EXPECT_GT(plain, 1e-4);
    EXPECT_LT(plain, 3e-2);
  }
}

TEST(FusedHead, ServesOnlyWhatItCan) {
  Random random({4, 8, 12, 2, true});
  EXPECT_TRUE(FusedHead::serves(random.head));
  random.params.to(at::kCPU, at::kBFloat16);
  EXPECT_TRUE(FusedHead::serves(random.head));
  random.params.to(at::kCPU, at::kHalf);
  EXPECT_FALSE(FusedHead::serves(random.head));
  EXPECT_CONTAINS(error_of([&] { FusedHead fused(random.head); }), "fp32 or bf16 weights");
}

}  // namespace
}  // namespace crescendo
