#include "crescendo/core/finite.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support.h"

namespace crescendo {
namespace {

TEST(Finite, OneNumberIsFoundInAnyType) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const Tensor good = at::full({300, 7}, 1.5, type);
    EXPECT_TRUE(all_finite(good)) << type;
    for (const double bad : std::vector<double>{NAN, HUGE_VAL, -HUGE_VAL}) {
      Tensor t = good.clone();
      t[299][6] = bad;
      EXPECT_FALSE(all_finite(t)) << type << " " << bad;
      t[0][0] = -bad;  // infinities of both signs
      EXPECT_FALSE(all_finite(t)) << type << " " << bad;
    }
  }
}

// Their sum overflows, they do not.
TEST(Finite, LargeNumbersAreFinite) {
  EXPECT_TRUE(all_finite(at::full({9}, std::numeric_limits<float>::max())));
  EXPECT_TRUE(all_finite(at::full({9}, 3e38, at::kBFloat16)));
  EXPECT_TRUE(all_finite(at::full({9000}, 60000, at::kHalf)));
}

TEST(Finite, WhatHoldsNoSuchNumbers) {
  EXPECT_TRUE(all_finite(at::arange(5, at::kLong)));
  EXPECT_TRUE(all_finite(at::zeros({0})));
  EXPECT_TRUE(all_finite(at::empty({3}, at::device(at::kMeta).dtype(at::kFloat))));
}

TEST(Finite, TheErrorNamesFileAndTensor) {
  const Tensor t = at::ones({4, 2});
  t[1][0] = NAN;
  const std::string error = test::error_of([&] {
    check_finite({{"order", at::zeros({2})}, {"noise", t}}, "x.safetensors");
  });
  EXPECT_CONTAINS(error, "x.safetensors: of the 8 elements of noise 1 are NaN or infinite");
}

}  // namespace
}  // namespace crescendo
