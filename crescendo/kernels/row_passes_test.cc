#include "crescendo/kernels/row_passes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "crescendo/core/rng.h"
#include "crescendo/core/tensor.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

const c10::Device kCpu(c10::kCPU);

float* data(const Tensor& t) { return t.data_ptr<float>(); }

TEST(RowPasses, SiluIsExactFarToBothSides) {
  std::vector<float> y, out;
  for (double v = -120; v <= 120; v += 0.0137) y.push_back(static_cast<float>(v));
  for (const float v : {0.0f, -0.0f, 1e-30f, -1e-8f, 1e30f, -1e6f}) y.push_back(v);
  const std::vector<float> zero(y.size());
  out.resize(y.size());
  rows::run(rows::Activate<float>{1, static_cast<int64_t>(y.size()), y.data(), zero.data(), out.data()}, kCpu);
  for (size_t i = 0; i < y.size(); ++i) {
    const double expected = y[i] / (1 + std::exp(-static_cast<double>(y[i])));
    EXPECT_NEAR(out[i], expected, 5e-7 * std::abs(expected) + 1e-30) << y[i];
  }
}

// Every inner step of a chunk meets every row; what is rounded is the same number.
TEST(RowPasses, ConditionsAreOfEveryStepAndRow) {
  const Tensor y = at::randn({5, 7}), times = at::randn({3, 7}), out = at::empty({15, 7}),
               rounded = at::empty({15, 7}, at::kBFloat16);
  rows::run(rows::Condition{15, 7, data(y), 5, data(times), data(out), rounded.data_ptr<at::BFloat16>()}, kCpu);
  const Tensor expected = at::silu(y.unsqueeze(0) + times.unsqueeze(1)).view({15, 7});
  EXPECT_LT(relative_l2(out, expected), 1e-6);
  EXPECT_TRUE(at::equal(rounded, out.to(at::kBFloat16)));
}

template <class T>
rows::Residual<T> no_branch(const Tensor& x, const Tensor& input, const Tensor& bias) {
  return {data(x), nullptr, 0, nullptr, nullptr, data(bias), data(input), input.size(0)};
}

TEST(RowPasses, BlocksBeginWithTheLastOnesBranch) {
  const int64_t rows = 6, w = 40;
  const Tensor x = at::randn({rows, w}), before = x.clone(), modulation = at::randn({rows, 3 * w}),
               bias = at::randn({3 * w}), branch = at::randn({rows, w}), branch_bias = at::randn({w}),
               weight = at::randn({w}), norm_bias = at::randn({w}), out = at::empty({rows, w});
  rows::run(rows::EnterBlock<float>{rows,
                                    w,
                                    {data(x), data(modulation) + 2 * w, 3 * w, data(bias) + 2 * w, data(branch),
                                     data(branch_bias), nullptr, 0},
                                    1e-6,
                                    data(weight),
                                    data(norm_bias),
                                    data(modulation),
                                    3 * w,
                                    data(bias),
                                    data(out)},
            kCpu);
  const auto m = (modulation + bias).chunk(3, 1);
  const Tensor sum = before + m[2] * (branch + branch_bias);
  EXPECT_LT(relative_l2(x, sum), 1e-6);
  EXPECT_LT(relative_l2(out, at::layer_norm(sum, {w}, weight, norm_bias, 1e-6) * (1 + m[1]) + m[0]), 2e-6);
}

TEST(RowPasses, InputIsGivenToSeveralRows) {
  const int64_t w = 9;
  const Tensor input = at::randn({2, w}), bias = at::randn({w}), x = at::empty({4, w}), scale = at::zeros({4, w}),
               zero = at::zeros({w}), out = at::empty({4, w});
  rows::run(rows::LeaveBlocks<float>{4, w, no_branch<float>(x, input, bias), 1e-6, data(scale), data(zero), data(out)},
            kCpu);
  EXPECT_TRUE(at::equal(x, at::cat({input, input}) + bias));
  EXPECT_LT(relative_l2(out, at::layer_norm(x, {w}, {}, {}, 1e-6)), 2e-6);
}

// As LibTorch rounds: to the nearest, the even one of two as near, and what is no number stays none.
TEST(RowPasses, RoundsToBf16AsLibTorch) {
  const int64_t w = 64;
  const Tensor zero = at::zeros({3 * w}), none = at::zeros({3 * w}, at::kBFloat16), x = at::empty({w});
  for (int64_t trial = 0; trial < 50; ++trial) {
    const Tensor expected = at::randn({w}) * std::pow(10.0, static_cast<double>(trial % 9) - 4);
    expected[0] = std::bit_cast<float>(0x3f808000u);  // half way, to the even below
    expected[1] = std::bit_cast<float>(0x3f818000u);  // half way, to the even above
    expected[2] = std::numeric_limits<float>::quiet_NaN();
    expected[3] = std::numeric_limits<float>::infinity();
    const Tensor bias = at::cat({expected, zero.slice(0, 0, 2 * w)}), out = at::empty({w}, at::kBFloat16);
    // norm(0) * 0 + 0, and the shift's bias: the numbers themselves.
    rows::run(rows::EnterBlock<at::BFloat16>{1, w, no_branch<at::BFloat16>(x, zero.slice(0, 0, w).unsqueeze(0), zero),
                                             1e-6, data(zero), data(zero), none.data_ptr<at::BFloat16>(), 3 * w,
                                             data(bias), out.data_ptr<at::BFloat16>()},
              kCpu);
    EXPECT_TRUE(at::allclose(out.to(at::kFloat), expected.to(at::kBFloat16).to(at::kFloat), 0, 0, /*equal_nan=*/true));
  }
}

TEST(RowPasses, NormalizesFarFromZero) {
  const int64_t w = 1000;
  const Tensor input = 1000 + at::sin(at::arange(w).to(at::kFloat)).unsqueeze(0), x = at::empty({1, w}),
               out = at::empty({1, w}), zero = at::zeros({w});
  rows::run(rows::LeaveBlocks<float>{1, w, no_branch<float>(x, input, zero), 1e-6, data(zero), data(zero), data(out)},
            kCpu);
  EXPECT_NEAR(out.to(at::kDouble).mean().item<double>(), 0, 1e-3);
  EXPECT_NEAR(out.to(at::kDouble).square().mean().item<double>(), 1, 1e-4);
}

TEST(RowPasses, GuidanceGoesBeyondTheCondition) {
  const Tensor both = at::randn({6, 10}), out = at::empty({3, 5}), scale = at::full({1}, 2.5f);
  rows::run(rows::Guide{3, 5, data(both), data(both) + 30, 10, data(scale), data(out), 5}, kCpu);
  const Tensor c = both.slice(0, 0, 3).slice(1, 0, 5), u = both.slice(0, 3).slice(1, 0, 5);
  EXPECT_LT(relative_l2(out, u + 2.5 * (c - u)), 1e-6);
  const Tensor before = both.clone();
  rows::run(rows::Guide{3, 5, data(both), data(both) + 30, 10, data(scale), data(both), 10}, kCpu);
  EXPECT_TRUE(at::equal(c, out));  // in the condition's place
  EXPECT_TRUE(at::equal(both.slice(1, 5), before.slice(1, 5)) && at::equal(both.slice(0, 3), before.slice(0, 3)));
}

// With everything and with what may be missing, of rows that a register does not divide, and in the place of `before`.
TEST(RowPasses, MultistepTakesWhatThereIs) {
  const int64_t n = 3, w = 13;
  const Tensor x = at::randn({n, w}), both = at::randn({n, 2 * w}), noise = at::randn({n, w}),
               before = at::randn({n, w}), out = at::empty({n, w}), estimate = at::empty({n, w}),
               eps = both.slice(1, 0, w), x0 = 1.5 * x - 1.1 * eps;
  const rows::MultistepStep first{n,    w,    data(x), data(both), 2 * w, nullptr,        nullptr,  1.5f,
                                  1.1f, 0.3f, 0.7f,    -0.2f,      0.9f,  data(estimate), data(out)};
  rows::run(first, kCpu);
  EXPECT_LT(relative_l2(estimate, x0), 1e-6);
  EXPECT_LT(relative_l2(out, 0.3 * x + 0.7 * x0), 1e-6);
  const Tensor expected = 0.3 * x + 0.7 * x0 - 0.2 * before + 0.9 * noise;
  rows::MultistepStep later = first;
  later.before = later.x0 = data(before), later.noise = data(noise);
  rows::run(later, kCpu);
  EXPECT_LT(relative_l2(out, expected), 1e-6);
  EXPECT_LT(relative_l2(before, x0), 1e-6);
}

// The numbers of a stream, wherever they are drawn, for lengths that end within a block or a pair.
TEST(RowPasses, NormalsAreTheStreams) {
  const std::vector<int64_t> seeds = {7, -3, 1 << 20};
  for (const int64_t width : {1, 2, 3, 4, 5, 64, 1023}) {
    const Tensor out = at::empty({6, width});
    rows::run(rows::Normals{6, width, seeds.data(), 3, static_cast<uint32_t>(Draw::kStepNoise), 2, 5, data(out)}, kCpu);
    for (int64_t r = 0; r < 6; ++r) {
      std::vector<float> expected(static_cast<size_t>(width));
      Rng rng(static_cast<uint64_t>(seeds[static_cast<size_t>(r % 3)]), Draw::kStepNoise, 2,
              static_cast<uint32_t>(5 + r / 3));
      rng.fill_normal(expected);
      for (int64_t i = 0; i < width; ++i)
        EXPECT_NEAR(out[r][i].item<float>(), expected[static_cast<size_t>(i)], 1e-5) << width << " " << r << " " << i;
    }
  }
}

TEST(RowPasses, ServeCpus) {
  EXPECT_TRUE(rows::serves(kCpu));
  if (rows::serves(c10::Device(c10::kCUDA, 0))) GTEST_SKIP() << "built with CUDA kernels";
  EXPECT_CONTAINS(error_of([] {
                    float x = 0;
                    rows::run(rows::Guide{1, 1, &x, &x, 1, &x, &x, 1}, c10::Device(c10::kCUDA, 0));
                  }),
                  "built without its CUDA kernels");
}

template <class T>
void expect_sum_and_norm(at::ScalarType type, double tolerance) {
  const int64_t rows = 5, w = 37;
  const auto numbers = [](const Tensor& t) { return t.defined() ? t.data_ptr<T>() : nullptr; };
  const Tensor x = (at::randn({rows, w}) + 3).to(type), branch = at::randn({rows, w}).to(type), sum = at::empty_like(x),
               out = at::empty_like(x);
  for (const bool affine : {true, false}) {
    const Tensor weight = affine ? at::randn({w}).to(type) : Tensor(),
                 bias = affine ? at::randn({w}).to(type) : Tensor();
    rows::run(rows::AddNorm<T>{rows, w, numbers(x), numbers(branch), 1e-5, numbers(weight), numbers(bias), numbers(sum),
                               numbers(out)},
              kCpu);
    EXPECT_TRUE(at::equal(sum, x + branch));
    const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
    const Tensor expected = at::layer_norm(wide(sum), {w}, wide(weight), wide(bias), 1e-5);
    EXPECT_LT(relative_l2(out.to(at::kDouble), expected), tolerance) << affine;
  }
}

TEST(RowPasses, TheNormIsOfTheSum) {
  expect_sum_and_norm<float>(at::kFloat, 1e-6);
  expect_sum_and_norm<at::BFloat16>(at::kBFloat16, 3e-3);  // the result's rounding
}

}  // namespace
}  // namespace crescendo
