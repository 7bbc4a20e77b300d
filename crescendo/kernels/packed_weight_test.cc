#include "crescendo/kernels/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

// Rows and outputs that fill tiles and panels, and those that do not.
TEST(PackedWeights, IsTheProduct) {
  for (const int64_t rows : {1, 2, 5, 6, 7, 12, 13, 25, 100})
    for (const int64_t outputs : {1, 7, 8, 15, 16, 17, 31, 32, 40, 48, 80})
      for (const int64_t depth : {1, 3, 16, 67}) {
        const Tensor x = at::randn({rows, depth}), weight = at::randn({outputs, depth}), bias = at::randn({outputs});
        const PackedWeight packed(weight);
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
TEST(PackedWeights, InBf16IsTheProductOfRoundedNumbers) {
  for (const int64_t rows : {1, 5, 12, 70})
    for (const int64_t outputs : {1, 16, 31, 48})
      for (const int64_t depth : {2, 16, 66}) {
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

// Whoever shares a batch, and however many threads work.
class PackedWeightsOf : public testing::TestWithParam<at::ScalarType> {};
TEST_P(PackedWeightsOf, ARowDependsOnItselfToTheLastBit) {
  const at::ScalarType type = GetParam();
  const Tensor x = at::randn({500, 34}).to(type), weight = at::randn({100, 34}).to(type), bias = at::randn({100});
  const PackedWeight packed(weight);
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
INSTANTIATE_TEST_SUITE_P(Types, PackedWeightsOf, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) { return std::string(at::toString(type.param)); });

TEST(PackedWeights, WhatDoesNotFitIsRefused) {
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
  for (const Tensor& weight : {at::randn({4, 3}).to(at::kDouble), at::randn({4}), at::randn({4, 3}).to(at::kBFloat16)})
    EXPECT_NE(error_of([&] { PackedWeight{weight}; }).find("fp32"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
