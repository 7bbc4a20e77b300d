#include "crescendo/kernels/cpu/rounded_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

Tensor numbers_of(const RoundedRows& r) {
  return (r.bytes.to(at::kFloat) - r.zero.unsqueeze(1)) * r.scale.unsqueeze(1);
}

class RoundedRowsOf : public testing::TestWithParam<at::ScalarType> {};

// Numbers of either sign, of one sign, and those of silu, in rows of very different sizes.
TEST_P(RoundedRowsOf, AreTheNumbersToHalfAStep) {
  for (const int64_t depth : {1, 7, 16, 37, 64}) {
    const Tensor normal = at::randn({6, depth}), sizes = at::pow(10.0, at::linspace(-9, 9, 6)).unsqueeze(1);
    for (const Tensor& plain : {normal, normal.abs(), -normal.abs(), at::silu(normal * 4)}) {
      const Tensor x = (plain * sizes).to(GetParam()), exact = x.to(at::kFloat);
      const RoundedRows rounded = rounded_rows(x);
      const Tensor error = (numbers_of(rounded) - exact).abs().amax({1});
      EXPECT_TRUE(error.le(rounded.scale * 0.51).all().item<bool>()) << error << rounded.scale;
      // All bytes are used: none of a step is wasted.
      const Tensor reach = exact.amax({1}).clamp_min(0) - exact.amin({1}).clamp_max(0);
      EXPECT_TRUE(at::allclose(rounded.scale * largest_byte(), reach));
    }
  }
}

TEST_P(RoundedRowsOf, AreRoundedEachByItself) {
  const Tensor x = (at::randn({9, 3, 20}) * at::tensor({1, 50, 3}).unsqueeze(1)).to(GetParam());
  const RoundedRows all = rounded_rows(x);
  ASSERT_EQ(all.bytes.size(0), 27);
  for (const int64_t i : {0, 1, 13, 26}) {
    const RoundedRows one = rounded_rows(x.view({27, 20})[i]);
    EXPECT_TRUE(at::equal(one.bytes[0], all.bytes[i])) << i;
    EXPECT_TRUE(at::equal(one.scale[0], all.scale[i])) << i;
    EXPECT_TRUE(at::equal(one.zero[0], all.zero[i])) << i;
  }
}

// Rows of nothing, of what is no number and of what is too large for one.
TEST_P(RoundedRowsOf, TakeAnyRow) {
  Tensor x = at::randn({4, 18}).to(GetParam());
  x[0].zero_();
  x[1][3] = NAN;
  x[2][17] = -INFINITY;
  const RoundedRows rounded = rounded_rows(x);
  EXPECT_TRUE(numbers_of(rounded)[0].eq(0).all().item<bool>());
  const Tensor error = (numbers_of(rounded) - x.to(at::kFloat)).abs();
  EXPECT_LE(error[1].slice(0, 4).max().item<float>(), rounded.scale[1].item<float>() * 0.51);
  EXPECT_FALSE(rounded.scale[2].isfinite().item<bool>());
  EXPECT_TRUE(rounded.zero.ge(0).logical_and(rounded.zero.le(largest_byte())).all().item<bool>());
  EXPECT_EQ(rounded_rows(x.slice(0, 0, 0)).bytes.sizes(), (std::vector<int64_t>{0, 18}));
}

INSTANTIATE_TEST_SUITE_P(Types, RoundedRowsOf, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) { return std::string(at::toString(type.param)); });

TEST(RoundedRows, NeedRowsThatLieSideBySide) {
  EXPECT_CONTAINS(error_of([] { rounded_rows(at::randn({4, 6}).t()); }), "contiguous");
  EXPECT_CONTAINS(error_of([] { rounded_rows(at::randn({4, 6}).to(at::kDouble)); }), "fp32 or bf16");
}

}  // namespace
}  // namespace crescendo
