#include "crescendo/diffusion/fused_head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

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

// Odd widths, one block and several, one row and more than a task's.
TEST(FusedHead, IsTheHead) {
  const at::NoGradGuard no_grad;
  for (const HeadConfig& config : {HeadConfig{4, 8, 12, 2, true}, {3, 5, 37, 1, false}, {16, 24, 64, 3, true}}) {
    const Random random(config);
    FusedHead fused(random.head);
    for (const int64_t rows : {1, 50, 7, 7}) {  // buffers grow, shrink and are used again
      const Tensor x = at::randn({rows, config.token_channels}), y = at::randn({rows, config.width}),
                   time = at::randn({config.width});
      const Tensor expected = random.head.forward(x, y + time), got = fused.forward(x, y, time);
      ASSERT_EQ(got.sizes(), expected.sizes());
      EXPECT_LT(relative_l2(got, expected), 2e-6) << config.width << " wide, " << rows << " rows";
    }
  }
}

TEST(FusedHead, ServesOnlyWhatItCan) {
  Random random({4, 8, 12, 2, true});
  EXPECT_TRUE(FusedHead::serves(random.head));
  random.params.to(at::kCPU, at::kBFloat16);
  EXPECT_FALSE(FusedHead::serves(random.head));
  EXPECT_CONTAINS(error_of([&] { FusedHead fused(random.head); }), "fp32 weights on the CPU");
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

TEST(RowPasses, NormalizesFarFromZero) {
  std::vector<float> x(1000), out(1000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1000.0f + std::sin(static_cast<float>(i));
  rows::normalize(out.data(), x.data(), 1e-6, 1000);
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
