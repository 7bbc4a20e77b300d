#include "crescendo/kernels/cpu/strassen.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <string>

#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::relative_l2;

Tensor exact(const Tensor& x, const Tensor& weight) {
  return at::matmul(x.to(at::kDouble), weight.t().to(at::kDouble));
}

// Rows that fill blocks, tiles and pairs, and those that do not; the memory beside them stays as it is.
TEST(Strassen, IsTheProduct) {
  const int64_t depth = 128, outputs = 192;
  for (const int64_t rows : {256, 257, 262, 264, 275, 1024, 1025, 1030, 1400})
    for (const std::string added : {"nothing", "bias", "rows"}) {
      const Tensor x = at::randn({rows, depth}), weight = at::randn({outputs, depth}),
                   memory = at::full({rows + 2, outputs}, 7.0f),
                   addend = added == "nothing" ? Tensor()
                            : added == "bias"  ? at::randn({outputs})
                                               : at::randn({rows, outputs});
      Tensor out = memory.slice(0, 1, rows + 1);
      strassen::multiply(x, weight, addend, out);
      const Tensor expected = exact(x, weight) + (addend.defined() ? addend : at::zeros({outputs}));
      EXPECT_LT(relative_l2(out, expected), 1e-6) << rows << " and " << added;
      EXPECT_TRUE(memory[0].eq(7).all().item<bool>() && memory[rows + 1].eq(7).all().item<bool>()) << rows;
    }
}

// Whole numbers that are summed without rounding: the same result whatever the order, so every number can be told.
TEST(Strassen, IsExactInWholeNumbers) {
  const Tensor x = at::randint(-9, 10, {3, 100, 64}, at::kFloat), weight = at::randint(-9, 10, {64, 64}, at::kFloat);
  Tensor out = at::empty({3, 100, 64});
  strassen::multiply(x, weight, {}, out);
  EXPECT_TRUE(at::equal(out.to(at::kDouble), exact(x, weight)));
}

// In a parallel region, with more threads than groups of columns, and with other rows behind its own.
TEST(Strassen, DoesNotDependOnThreadsOrOtherRows) {
  const Tensor x = at::randn({300, 64}), weight = at::randn({128, 64});
  Tensor one = at::empty({300, 128}), many = at::empty_like(one), within = at::empty({2, 300, 128});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  strassen::multiply(x, weight, {}, one);
  at::set_num_threads(7);
  strassen::multiply(x, weight, {}, many);
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Tensor out = within[i];
      strassen::multiply(x, weight, {}, out);
    }
  });
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, many));
  EXPECT_TRUE(at::equal(one, within[0]) && at::equal(one, within[1]));
  Tensor batch = at::empty({1400, 128});
  strassen::multiply(at::cat({x, at::randn({1100, 64})}), weight, {}, batch);
  EXPECT_TRUE(at::equal(one, batch.slice(0, 0, 300)));
}

TEST(Strassen, ServesLargeProductsOnly) {
  const Tensor weight = at::empty({512, 576}), x = at::empty({2, 128, 576});
  EXPECT_EQ(strassen::serves(x, weight), CRESCENDO_HAS_512);
  EXPECT_FALSE(strassen::serves(x[0], weight));
  EXPECT_FALSE(strassen::serves(x.to(at::kDouble), weight));
  EXPECT_FALSE(strassen::serves(x, weight.to(at::kBFloat16)));
  EXPECT_FALSE(strassen::serves(x, at::empty({500, 576})));
  EXPECT_FALSE(strassen::serves(x, at::empty({448, 576})));
  EXPECT_FALSE(strassen::serves(x, at::empty({576, 512}).t()));
  EXPECT_FALSE(strassen::serves(x.transpose(0, 1), weight));
}

TEST(Strassen, RefusesWhatItCannot) {
  const Tensor x = at::randn({256, 64}), weight = at::randn({64, 64});
  Tensor out = at::empty({256, 64});
  EXPECT_THROW(strassen::multiply(x.slice(0, 0, 255), weight, {}, out), Error);
  Tensor fewer = at::empty({255, 64});
  EXPECT_THROW(strassen::multiply(x.slice(0, 0, 255), weight, {}, fewer), Error);
  EXPECT_THROW(strassen::multiply(x, at::randn({64, 63}), {}, out), Error);
  EXPECT_THROW(strassen::multiply(x, at::empty({64, 0}), {}, out), Error);
  EXPECT_THROW(strassen::multiply(x, weight, at::randn({63}), out), Error);
  EXPECT_THROW(strassen::multiply(x, weight.t(), {}, out), Error);
  EXPECT_THROW(strassen::multiply(x, weight.to(at::kDouble), {}, out), Error);
}

}  // namespace
}  // namespace crescendo
