#include "crescendo/kernels/cpu/onednn.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "crescendo/core/tensor.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

onednn::Matrix matrix(const Tensor& t) { return {t.data_ptr(), t.stride(0), t.stride(1)}; }

class OneDnn : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (onednn::instructions(GetParam()).empty()) GTEST_SKIP() << "no products of " << GetParam();
  }
  bool int8() const { return GetParam() == at::kChar; }
  // Of seven bits, which no processor loses.
  Tensor x(int64_t rows, int64_t depth) const {
    return int8() ? at::randint(0, 128, {rows, depth}, at::kByte) : at::randn({rows, depth}).to(GetParam());
  }
  Tensor weight(int64_t outputs, int64_t depth) const {
    return int8() ? at::randint(-127, 128, {outputs, depth}, at::kChar) : at::randn({outputs, depth}).to(GetParam());
  }
  at::ScalarType sums() const { return int8() ? at::kInt : at::kFloat; }
};

TEST_P(OneDnn, MultipliesPartsOfMatrices) {
  for (const int64_t rows : {1, 3, 20, 70})
    for (const int64_t depth : {1, 4, 33, 64})
      for (const int64_t outputs : {1, 16, 50})
        for (const bool transposed : {false, true}) {
          const Tensor a = x(rows, depth + 3).slice(1, 2, depth + 2),
                       b = transposed ? weight(depth, outputs + 5).slice(1, 1, outputs + 1)
                                      : weight(outputs, depth).t(),
                       out = at::full({rows, outputs + 2}, 7, sums());
          onednn::multiply({.type = GetParam(),
                            .out_type = sums(),
                            .rows = rows,
                            .depth = depth,
                            .outputs = outputs,
                            .x = matrix(a),
                            .weight = matrix(b),
                            .out = out.data_ptr(),
                            .out_stride = outputs + 2});
          EXPECT_LT(relative_l2(out.slice(1, 0, outputs), at::mm(a.to(at::kDouble), b.to(at::kDouble))), 1e-6)
              << rows << " x " << depth << " x " << outputs;
          EXPECT_TRUE(out.slice(1, outputs).eq(7).all().item<bool>());
        }
}

// Whoever asks: one thread, all, or each of those of a parallel region.
TEST_P(OneDnn, IsTheSameOnAnyThreads) {
  const int64_t depth = 96, outputs = 200;
  const Tensor w = weight(outputs, depth);
  const auto laid_out = onednn::lay_out(GetParam(), outputs, depth, w.data_ptr());
  const auto product = [&](const Tensor& a, const Tensor& out) {
    onednn::multiply({.type = GetParam(),
                      .out_type = sums(),
                      .rows = a.size(0),
                      .depth = depth,
                      .outputs = outputs,
                      .x = matrix(a),
                      .laid_out = laid_out.get(),
                      .out = out.data_ptr(),
                      .out_stride = outputs});
  };
  const Tensor a = x(150, depth), by_all = at::empty({150, outputs}, sums()), by_one = at::empty_like(by_all),
               by_each = at::empty({4, 150, outputs}, sums());
  const int before = at::get_num_threads();
  at::set_num_threads(4);
  product(a, by_all);
  at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) product(a, by_each[i]);
  });
  at::set_num_threads(1);
  product(a, by_one);
  at::set_num_threads(before);
  EXPECT_LT(relative_l2(by_one, at::mm(a.to(at::kDouble), w.to(at::kDouble).t())), 1e-6);
  // By AVX2 the order of sums in fp32 is the library's own.
  const double tolerance = onednn::instructions(GetParam()) == "AVX2" ? 1e-6 : 0;
  EXPECT_LE(relative_l2(by_all, by_one), tolerance);
  for (int64_t i = 0; i < 4; ++i) EXPECT_LE(relative_l2(by_each[i], by_one), tolerance) << i;
}

INSTANTIATE_TEST_SUITE_P(Types, OneDnn, testing::Values(at::kFloat, at::kBFloat16, at::kChar),
                         [](const auto& type) { return std::string(at::toString(type.param)); });

}  // namespace
}  // namespace crescendo
