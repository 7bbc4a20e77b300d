#include "crescendo/kernels/packed_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

float* data(const Tensor& t) { return t.data_ptr<float>(); }

// Rows and outputs that fill tiles and panels, and those that do not.
TEST(PackedProduct, IsTheProduct) {
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

TEST(PackedProduct, WritesItsOwnPlacesOnly) {
  const int64_t rows = 7, depth = 9, outputs = 21, x_stride = 11, out_stride = 30;
  const Tensor x = at::randn({rows, x_stride}), weight = at::randn({outputs, depth}),
               out = at::full({rows + 1, out_stride}, 7.0f), packed = at::empty({panels::packed_size(outputs, depth)});
  panels::pack(data(weight), depth, 1, outputs, depth, data(packed));
  panels::multiply({rows, depth, outputs, data(x), x_stride, data(packed), nullptr, 0, data(out), out_stride});
  const Tensor written = out.slice(0, 0, rows).slice(1, 0, outputs);
  EXPECT_LT((written - at::mm(x.slice(1, 0, depth), weight.t())).abs().max().item<float>(), 1e-5);
  EXPECT_TRUE(out.slice(1, outputs).eq(7).all().item<bool>());
  EXPECT_TRUE(out[rows].eq(7).all().item<bool>());
}

// Whatever registers this machine has.
TEST(PackedProduct, RegistersOfSixteenGiveTheSame) {
  for (const int64_t rows : {1, 5, 11, 12, 13, 24, 31})
    for (const int64_t outputs : {1, 15, 16, 17, 32, 33, 48, 63, 64})
      for (const bool biased : {false, true}) {
        const int64_t depth = 19;
        const Tensor x = at::randn({rows, depth}), weight = at::randn({outputs, depth}), bias = at::randn({outputs}),
                     packed = at::empty({panels::packed_size(outputs, depth)}), one = at::full({rows, outputs}, NAN),
                     other = at::full({rows, outputs + 1}, 7.0f);
        panels::pack(data(weight), depth, 1, outputs, depth, data(packed));
        panels::Product p{rows, depth,     outputs, data(x), depth, data(packed), biased ? data(bias) : nullptr,
                          0,    data(one), outputs};
        panels::multiply(p);
        p.out = data(other);
        p.out_stride = outputs + 1;
        panels::multiply_by_sixteens(p);
        EXPECT_TRUE(at::allclose(other.slice(1, 0, outputs), one, 1e-5, 1e-5)) << rows << " " << outputs;
        EXPECT_TRUE(other.select(1, outputs).eq(7).all().item<bool>());
      }
}

TEST(PackedProduct, PacksATransposedFactorAlike) {
  const Tensor weight = at::randn({37, 12}), turned = weight.t().contiguous();
  const Tensor a = at::empty({panels::packed_size(37, 12)}), b = at::empty_like(a);
  panels::pack(data(weight), 12, 1, 37, 12, data(a));
  panels::pack(data(turned), 1, 37, 37, 12, data(b));
  EXPECT_TRUE(at::equal(a, b));
}

// Whoever shares a batch, and however many threads work.
TEST(PackedProduct, ARowDependsOnItselfToTheLastBit) {
  const Tensor x = at::randn({500, 33}), weight = at::randn({100, 33}), bias = at::randn({100});
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

TEST(PackedProduct, WhatDoesNotFitIsRefused) {
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
  for (const Tensor& weight : {at::randn({4, 3}).to(at::kDouble), at::randn({4})})
    EXPECT_NE(error_of([&] { PackedWeight{weight}; }).find("fp32"), std::string::npos);
}

}  // namespace
}  // namespace crescendo
