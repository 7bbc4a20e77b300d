#include "crescendo/diffusion/fused_head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "crescendo/diffusion/row_passes.h"
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

// Odd widths, one block and several, one row and more than a task's; few rows, whose steps share their modulations, and
// so many that none do.
TEST(FusedHead, IsTheHead) {
  const at::NoGradGuard no_grad;
  for (const HeadConfig& config : {HeadConfig{4, 8, 12, 2, true}, {3, 5, 37, 1, false}, {16, 24, 64, 3, true}}) {
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

TEST(FusedHead, TakesStepsInAnyOrder) {
  const at::NoGradGuard no_grad;
  const Random random({4, 8, 12, 2, true});
  FusedHead fused(random.head);
  const Steps steps({4, 8, 12, 2, true}, 100, 20);
  fused.begin(steps.y, steps.times);
  for (const int64_t i : {19, 18, 18, 3, 4, 0, 19}) {
    const Tensor expected = random.head.forward(steps.x[i], steps.y + steps.times[i]);
    EXPECT_LT(relative_l2(fused.forward(steps.x[i], i), expected), 2e-6) << i;
  }
  EXPECT_CONTAINS(error_of([&] { fused.forward(steps.x[0], 20); }), "100 rows at inner step 20, begun with 100 rows");
  EXPECT_CONTAINS(error_of([&] { fused.forward(steps.x[0].slice(0, 0, 9), 1); }), "9 rows at inner step 1");
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
  EXPECT_CONTAINS(error_of([&] { FusedHead fused(random.head); }), "fp32 or bf16 weights on the CPU");
}

TEST(RowPasses, SiluIsExactFarToBothSides) {
  std::vector<float> y, zero, out;
  for (double v = -120; v <= 120; v += 0.0137) y.push_back(static_cast<float>(v));
  for (const float v : {0.0f, -0.0f, 1e-30f, -1e-8f, 1e30f, -1e6f}) y.push_back(v);
  zero.resize(y.size());
  out.resize(y.size());
  rows::silu_of_sum(out.data(), y.data(), zero.data(), static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < y.size(); ++i) {
    const double expected = y[i] / (1 + std::exp(-static_cast<double>(y[i])));
    EXPECT_NEAR(out[i], expected, 5e-7 * std::abs(expected) + 1e-30) << y[i];
  }
}

// As LibTorch rounds: to the nearest, the even one of two as near, and what is no number stays none.
TEST(RowPasses, RoundsToBf16AsLibTorch) {
  std::vector<float> bias(64), zero(64);
  const Tensor scale = at::zeros({64}, at::kBFloat16), x = at::zeros({64});
  for (int64_t trial = 0; trial < 50; ++trial) {
    const Tensor expected = at::randn({64}) * std::pow(10.0, static_cast<double>(trial % 9) - 4);
    expected[0] = std::bit_cast<float>(0x3f808000u);  // half way, to the even below
    expected[1] = std::bit_cast<float>(0x3f818000u);  // half way, to the even above
    expected[2] = std::numeric_limits<float>::quiet_NaN();
    expected[3] = std::numeric_limits<float>::infinity();
    std::copy_n(expected.data_ptr<float>(), 64, bias.begin());
    // norm(0) * 0 + 0, and the shift's bias: the numbers themselves.
    const Tensor out = at::empty({64}, at::kBFloat16);
    rows::normalize_modulate(out.data_ptr<at::BFloat16>(), x.data_ptr<float>(), 1e-6, zero.data(), zero.data(),
                             scale.data_ptr<at::BFloat16>(), zero.data(), scale.data_ptr<at::BFloat16>(), bias.data(),
                             64);
    EXPECT_TRUE(at::allclose(out.to(at::kFloat), expected.to(at::kBFloat16).to(at::kFloat), 0, 0, /*equal_nan=*/true));
  }
}

TEST(RowPasses, NormalizesFarFromZero) {
  std::vector<float> x(1000), out(1000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1000.0f + std::sin(static_cast<float>(i));
  const std::vector<float> zero(1000);
  rows::normalize_rescale(out.data(), x.data(), 1e-6, zero.data(), zero.data(), 1000);
  double sum = 0, squares = 0;
  for (const float v : out) {
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / 1000, 0, 1e-3);
  EXPECT_NEAR(squares / 1000, 1, 1e-4);
}

}  // namespace
}  // namespace crescendo
