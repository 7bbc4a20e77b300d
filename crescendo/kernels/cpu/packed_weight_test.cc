#include "crescendo/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

class PackedWeights : public testing::Test {
 protected:
  void SetUp() override {
    if (!PackedWeight::serves(at::empty({1, 1}))) GTEST_SKIP() << "needs oneDNN";
  }
};

// Rows and outputs that fill tiles and those that do not.
TEST_F(PackedWeights, IsTheProduct) {
  for (const int64_t rows : {1, 2, 5, 6, 7, 12, 13, 25, 100})
    for (const int64_t outputs : {1, 7, 8, 15, 16, 17, 31, 32, 40, 48, 80})
      for (const int64_t depth : {1, 3, 16, 67}) {
        const Tensor x = at::randn({rows, depth}), weight = at::randn({outputs, depth}), bias = at::randn({outputs});
        const PackedWeight packed(weight, outputs % 2 == 0 ? Products::kPacked : Products::kInPlace);
        const Tensor product = at::mm(x.to(at::kDouble), weight.t().to(at::kDouble)),
                     bound = at::mm(x.abs().to(at::kDouble), weight.abs().t().to(at::kDouble)) + 1;
        Tensor out = at::full({rows, outputs}, NAN);
        packed.multiply(x, {}, out);
        EXPECT_LT(((out - product).abs() / bound).max().item<double>(), 3e-7) << rows << " " << outputs << " " << depth;
        packed.multiply(x, bias, out);
        EXPECT_LT(((out - product - bias).abs() / (bound + bias.abs())).max().item<double>(), 3e-7)
            << rows << " " << outputs << " " << depth;
        const Tensor of_rows = at::randn({rows, outputs});
        packed.multiply(x, of_rows, out);
        EXPECT_LT(((out - product - of_rows).abs() / (bound + of_rows.abs())).max().item<double>(), 3e-7)
            << rows << " " << outputs << " " << depth;
      }
}

// Sums are in fp32, and the result, if it is bf16, rounds once.
TEST_F(PackedWeights, InBf16IsTheProductOfRoundedNumbers) {
  for (const int64_t rows : {1, 5, 12, 70})
    for (const int64_t outputs : {1, 16, 31, 48})
      for (const int64_t depth : {1, 2, 16, 67}) {
        const Tensor x = at::randn({rows, depth}).to(at::kBFloat16), bias = at::randn({outputs}),
                     weight = at::randn({outputs, depth}).to(at::kBFloat16);
        const PackedWeight packed(weight);
        const Tensor product = at::mm(x.to(at::kDouble), weight.t().to(at::kDouble)) + bias,
                     bound = at::mm(x.abs().to(at::kDouble), weight.abs().t().to(at::kDouble)) + 1;
        Tensor out = at::full({rows, outputs}, NAN), rounded = out.to(at::kBFloat16);
        packed.multiply(x, bias, out);
        EXPECT_LT(((out - product).abs() / bound).max().item<double>(), 3e-7) << rows << " " << outputs << " " << depth;
        packed.multiply(x, bias, rounded);
        EXPECT_TRUE(at::equal(rounded, out.to(at::kBFloat16))) << rows << " " << outputs << " " << depth;
      }
}

// A processor without int8 products of four keeps a bit of the rows in reserve.
double bit() { return largest_byte() == 255 ? 1 : 2; }

TEST(PackedWeightsInInt8, IsTheProductToAPercent) {
  // Rows of very different sizes: each has a scale of its own.
  const Tensor weight = at::randn({48, 96}) * at::pow(10.0, at::linspace(-3, 1, 48)).unsqueeze(1),
               bias = at::randn({48}) * weight.norm(2, {1});
  for (const auto weight_type : {at::kFloat, at::kBFloat16}) {
    const PackedWeight packed(weight.to(weight_type), Products::kInt8);
    for (const auto type : {at::kFloat, at::kBFloat16})
      for (const auto out_type : {at::kFloat, at::kBFloat16})
        for (const double size : {1e-4, 1.0, 30.0})
          for (const bool activated : {false, true})
            for (const bool biased : {false, true}) {
              const Tensor numbers = at::randn({5, 96}) * size,
                           x = (activated ? at::silu(numbers) : numbers).to(type).contiguous(),
                           exact = at::mm(x.to(at::kFloat), weight.t()), added = biased ? bias * size : Tensor();
              Tensor out = at::empty({5, 48}, out_type);
              packed.multiply(x, added, out);
              const Tensor product = out.to(at::kFloat) - (biased ? added : at::zeros({48}));
              for (int64_t n = 0; n < 48; ++n)
                EXPECT_LT(relative_l2(product.select(1, n), exact.select(1, n)), 0.08 * bit()) << size << " " << n;
              EXPECT_LT(relative_l2(product, exact), 0.02 * bit()) << size;
            }
  }
}

// Sums of 255 times 127 as often as there may be.
TEST(PackedWeightsInInt8, SumsDoNotOverflow) {
  const PackedWeight packed(at::ones({3, PackedWeight::kMostOfInt8}), Products::kInt8);
  for (const double x : {1.0, -1.0}) {
    Tensor out = at::empty({1, 3});
    packed.multiply(at::full({1, PackedWeight::kMostOfInt8}, x), {}, out);
    EXPECT_TRUE(at::allclose(out, at::full({1, 3}, x * PackedWeight::kMostOfInt8), 1e-5));
  }
}

// Widths that fill no group, and rows of nothing or of what is no number.
TEST(PackedWeightsInInt8, TakesAnyRow) {
  const Tensor weight = at::randn({5, 7}), x = at::silu(at::randn({4, 7}) * 4);
  x[1].zero_();
  x[2][3] = NAN;
  const PackedWeight packed(weight, Products::kInt8);
  Tensor out = at::empty({4, 5});
  packed.multiply(x, {}, out);
  for (const int64_t i : {0, 3}) EXPECT_LT(relative_l2(out[i], at::mv(weight, x[i])), 0.05) << i;
  EXPECT_TRUE(out[1].eq(0).all().item<bool>());
  EXPECT_CONTAINS(error_of([&] { packed.multiply(at::randn({4, 5}), {}, out); }), "[4, 5] times 7 x 5");
  EXPECT_CONTAINS(error_of([&] { packed.multiply(rounded_rows(at::randn({4, 9})), {}, out); }), "[4, 9] times 7 x 5");
}

// Whoever shares a batch, and however many threads work.
struct Kind {
  at::ScalarType type;
  Products how;
  const char* name;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
class PackedWeightsOf : public testing::TestWithParam<Kind> {};
TEST_P(PackedWeightsOf, ARowDependsOnItselfToTheLastBit) {
  const auto [type, how, name] = GetParam();
  const Tensor x = at::randn({500, 34}).to(type), weight = at::randn({100, 34}).to(type), bias = at::randn({100});
  if (!PackedWeight::serves(weight, how)) GTEST_SKIP() << "needs oneDNN";
  if (how == Products::kInPlace && onednn::instructions(type) == "AVX2") GTEST_SKIP() << "rounds by AVX2 as it comes";
  const PackedWeight packed(weight, how);
  Tensor all = at::empty({500, 100}), one = at::empty({1, 100});
  packed.multiply(x, bias, all);
  for (const int64_t row : {0, 1, 77, 250, 498, 499}) {
    packed.multiply(x.slice(0, row, row + 1), bias, one);
    EXPECT_TRUE(at::equal(one[0], all[row])) << row;
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 3 : 1);
  Tensor otherwise = at::empty_like(all);
  packed.multiply(x, bias, otherwise);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(otherwise, all));
}
INSTANTIATE_TEST_SUITE_P(Types, PackedWeightsOf,
                         testing::Values(Kind{at::kFloat, Products::kPacked, "Fp32"},
                                         Kind{at::kFloat, Products::kInPlace, "Fp32InPlace"},
                                         Kind{at::kBFloat16, Products::kPacked, "Bf16"},
                                         Kind{at::kFloat, Products::kInt8, "Int8"},
                                         Kind{at::kBFloat16, Products::kInt8, "Bf16ByInt8"}),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_F(PackedWeights, WhatDoesNotFitIsRefused) {
  const PackedWeight packed(at::randn({4, 3}));
  Tensor out = at::empty({2, 5});
  EXPECT_NE(error_of([&] {
              packed.multiply(at::randn({2, 3}), {}, out);
            }).find("[2, 3] times 3 x 4"),
            std::string::npos);
  Tensor right = at::empty({2, 4});
  for (const Tensor& added : {at::zeros({3}), at::zeros({1, 4}), at::zeros({4, 2}).t()})
    EXPECT_NE(error_of([&] {
                packed.multiply(at::randn({2, 3}), added, right);
              }).find("cannot be added to [2, 4]"),
              std::string::npos);
  EXPECT_CONTAINS(error_of([] { PackedWeight(at::zeros({1, 65537}), Products::kInt8); }), "at most 65536 columns");
  for (const Tensor& weight : {at::randn({4, 3}).to(at::kDouble), at::randn({4}), at::empty({4, 0})})
    EXPECT_NE(error_of([&] { PackedWeight{weight}; }).find("fp32"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
