#include "crescendo/diffusion/int8_product.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "crescendo/diffusion/fused_head.h"
#include "crescendo/kernels/panels.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;
using test::relative_l2;

TEST(Int8, IsTheProductToAPercent) {
  at::manual_seed(1);
  // Weight rows of very different sizes: each has a scale of its own.
  const Tensor weight = at::randn({48, 96}) * at::pow(10.0, at::linspace(-3, 1, 48)).unsqueeze(1);
  const Int8Product product(weight);
  // A processor without int8 products of four keeps a bit of the input in reserve.
  const double bit = panels::largest_of_bytes() == 255 ? 1 : 2;
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const double size : {1e-4, 1.0, 30.0}) {
      const Tensor x = at::silu(at::randn({5, 96}) * size), exact = at::mm(x, weight.t());
      Tensor out = at::empty({5, 48}, type);
      product(rounded_rows(x), out);
      for (int64_t n = 0; n < 48; ++n)
        EXPECT_LT(relative_l2(out.select(1, n).to(at::kFloat), exact.select(1, n)), 0.08 * bit) << size << " " << n;
      EXPECT_LT(relative_l2(out.to(at::kFloat), exact), 0.02 * bit) << size;
    }
}

// An image must not depend on those beside it.
TEST(Int8, RowsAreRoundedEachByItself) {
  at::manual_seed(2);
  const Int8Product product(at::randn({24, 64}));
  const Tensor x = at::silu(at::randn({9, 64}) * at::tensor({1, 50, 3}).repeat({3}).unsqueeze(1));
  Tensor all = at::empty({9, 24});
  product(rounded_rows(x), all);
  for (int64_t i = 0; i < 9; ++i) {
    Tensor one = at::empty({1, 24});
    product(rounded_rows(x.slice(0, i, i + 1)), one);
    EXPECT_TRUE(at::equal(one[0], all[i])) << i;
  }
}

// Widths that fill no group, and rows of nothing or of what is no number.
TEST(Int8, TakesAnyRow) {
  at::manual_seed(4);
  const Tensor weight = at::randn({5, 7}), x = at::silu(at::randn({4, 7}) * 4);
  x[1].zero_();
  x[2][3] = NAN;
  const Int8Product product(weight);
  Tensor out = at::empty({4, 5});
  product(rounded_rows(x), out);
  for (const int64_t i : {0, 3}) EXPECT_LT(relative_l2(out[i], at::mv(weight, x[i])), 0.05) << i;
  EXPECT_TRUE(out[1].eq(0).all().item<bool>());
  EXPECT_CONTAINS(error_of([&] { product(rounded_rows(at::randn({4, 9})), out); }), "[4, 12] times 7 x 5");
}

TEST(Int8, HeadIsNearTheHead) {
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  Params params = Params::random(1);
  const HeadConfig config{16, 24, 64, 3, true};
  const Head head(Scope(params), config);
  for (const auto& [name, p] : params.items()) p.copy_(at::randn(p.sizes()) * 0.2);
  FusedHead exact(head), rounded(head, /*int8=*/true);
  const Tensor y = at::randn({40, 64}), times = at::randn({3, 64});
  exact.begin(y, times);
  rounded.begin(y, times);
  for (int64_t i = 2; i >= 0; --i) {
    const Tensor x = at::randn({40, 16});
    const double error = relative_l2(rounded.forward(x, i), exact.forward(x, i));
    EXPECT_LT(error, 0.05) << i;
    EXPECT_GT(error, 1e-5) << i;
  }
}

}  // namespace
}  // namespace crescendo
