#include "crescendo/metrics/moments.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "crescendo/metrics/normal_rows.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::normal;
using test::error_of;
using test::relative_l2;

MeanCovariance in_pieces(const Tensor& rows, int64_t piece) {
  Moments moments(rows.size(1));
  for (const Tensor& part : rows.split(piece)) moments.add(part);
  return moments.result();
}

// In one go, of centred rows.
Tensor plain_covariance(const Tensor& rows) {
  const Tensor x = rows.to(at::kDouble), centred = x - x.mean(0);
  return centred.t().mm(centred) / static_cast<double>(x.size(0) - 1);
}

TEST(Moments, AreThoseOfAllRowsHoweverTheyCome) {
  const Tensor rows = normal(1, 1000, 5);
  const MeanCovariance whole = in_pieces(rows, 1000);
  EXPECT_EQ(whole.count, 1000);
  EXPECT_LT(relative_l2(whole.mean, rows.to(at::kDouble).mean(0)), 1e-12);
  EXPECT_LT(relative_l2(whole.covariance, plain_covariance(rows)), 1e-12);
  for (const int64_t piece : {1, 7, 256, 300}) {
    const MeanCovariance pieces = in_pieces(rows, piece);
    EXPECT_TRUE(at::equal(pieces.mean, whole.mean)) << piece;
    EXPECT_TRUE(at::equal(pieces.covariance, whole.covariance)) << piece;
  }
  EXPECT_TRUE(at::equal(whole.covariance, whole.covariance.t()));
}

TEST(Moments, ShardsMerge) {
  const Tensor rows = normal(2, 700, 4);
  Moments merged(4);
  merged.merge(in_pieces(rows.slice(0, 0, 300), 100));
  merged.add(rows.slice(0, 300, 310));  // waits while the next shard comes
  merged.merge(in_pieces(rows.slice(0, 310, 700), 100));
  const MeanCovariance got = merged.result(), whole = in_pieces(rows, 700);
  EXPECT_EQ(got.count, 700);
  EXPECT_LT(relative_l2(got.mean, whole.mean), 1e-12);
  EXPECT_LT(relative_l2(got.covariance, whole.covariance), 1e-12);
}

TEST(Moments, ALargeMeanCostsNoDigits) {
  const Tensor rows = normal(3, 600, 3).to(at::kDouble) + 1e6;
  EXPECT_LT(relative_l2(in_pieces(rows, 50).covariance, plain_covariance(rows)), 1e-9);
}

TEST(Moments, AResultMayBeTakenInBetween) {
  const Tensor rows = normal(4, 400, 3);
  Moments moments(3);
  moments.add(rows.slice(0, 0, 100));
  const MeanCovariance early = moments.result();
  moments.add(rows.slice(0, 100, 400));
  EXPECT_LT(relative_l2(early.covariance, plain_covariance(rows.slice(0, 0, 100))), 1e-12);
  EXPECT_TRUE(at::equal(moments.result().covariance, in_pieces(rows, 400).covariance));
}

TEST(Moments, RefusesWhatGivesNoCovariance) {
  Moments moments(3);
  EXPECT_CONTAINS(error_of([&] { moments.add(at::zeros({2, 4})); }), "must be (B, 3)");
  EXPECT_CONTAINS(error_of([&] {
                    moments.add(at::full({2, 3}, std::numeric_limits<double>::quiet_NaN()));
                  }),
                  "features");
  moments.add(at::zeros({1, 3}));
  EXPECT_CONTAINS(error_of([&] { moments.result(); }), "at least 2 pictures, got 1");
  MeanCovariance unknown = in_pieces(normal(5, 10, 3), 10);
  unknown.count = 0;
  EXPECT_CONTAINS(error_of([&] { moments.merge(unknown); }), "without a count");
  EXPECT_CONTAINS(error_of([&] { moments.merge(in_pieces(normal(5, 10, 4), 10)); }), "dimension 4");
}

}  // namespace
}  // namespace crescendo
