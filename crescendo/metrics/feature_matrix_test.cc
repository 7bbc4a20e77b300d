#include "crescendo/metrics/feature_matrix.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/io/npz.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::error_of;

TEST(FeatureMatrix, RowsFromMemoryAndFromAFile) {
  test::TemporaryDirectory folder;
  const Tensor values = at::arange(12, at::kFloat).view({4, 3});
  for (const auto dtype : {at::kHalf, at::kFloat, at::kDouble}) {
    write_npy(folder / "f.npy", values.to(dtype));
    for (const FeatureMatrix& features : {FeatureMatrix(values.to(dtype)), FeatureMatrix::open(folder / "f.npy")}) {
      EXPECT_EQ(features.count(), 4);
      EXPECT_EQ(features.dim(), 3);
      EXPECT_TRUE(at::equal(features.rows(1, 3), values.slice(0, 1, 3)));
      EXPECT_EQ(features.rows(1, 3, at::kDouble).scalar_type(), at::kDouble);
      const std::vector<int64_t> numbers = {3, 0, 3};
      EXPECT_TRUE(at::equal(features.pick(numbers), at::stack({values[3], values[0], values[3]})));
      EXPECT_EQ(features.subset(numbers).tensor().scalar_type(), dtype);
    }
  }
}

TEST(FeatureMatrix, SaysWhatIsWrong) {
  EXPECT_CONTAINS(error_of([] { FeatureMatrix(at::zeros({4}), "f.npy"); }),
                  "f.npy: features must be (pictures, dimension)");
  EXPECT_CONTAINS(error_of([] { FeatureMatrix(at::zeros({4, 2}, at::kLong), "f.npy"); }), "got int64");
  Tensor broken = at::zeros({4, 2});
  broken[3][1] = NAN;
  const FeatureMatrix features(broken, "f.npy");
  EXPECT_NO_THROW(features.rows(0, 3));
  EXPECT_CONTAINS(error_of([&] { features.rows(2, 4); }), "f.npy");
}

TEST(FeatureRows, GatherRowsBeyondWhatWasExpected) {
  const Tensor values = at::arange(30, at::kFloat).view({10, 3});
  for (const int64_t expected : {0, 4, 10, 50}) {
    FeatureRows rows(expected);
    for (const Tensor& part : values.split(3)) rows.add(part);
    EXPECT_EQ(rows.count(), 10);
    EXPECT_TRUE(at::equal(rows.finish().tensor(), values)) << expected;
    EXPECT_EQ(rows.count(), 0);
  }
  FeatureRows rows(2, at::kHalf);
  EXPECT_CONTAINS(error_of([&] { rows.finish("samples"); }), "samples: no picture");
  rows.add(values);
  EXPECT_CONTAINS(error_of([&] { rows.add(at::zeros({1, 4})); }), "must be (B, 3)");
  EXPECT_EQ(rows.finish().tensor().scalar_type(), at::kHalf);
}

}  // namespace
}  // namespace crescendo
