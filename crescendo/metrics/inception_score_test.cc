#include "crescendo/metrics/inception_score.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;

// Sure of class i / per_class at picture i, sorted by class.
FeatureMatrix sure_logits(int64_t classes, int64_t per_class) {
  return FeatureMatrix(at::eye(classes).repeat_interleave(per_class, 0) * 100);
}

TEST(InceptionScore, IsTheNumberOfClassesWhereEachPictureIsSure) {
  EXPECT_NEAR(inception_score(sure_logits(8, 5), 1, std::nullopt).mean, 8, 1e-9);
  const InceptionScore none = inception_score(FeatureMatrix(at::ones({40, 8})));
  EXPECT_NEAR(none.mean, 1, 1e-12);
  EXPECT_NEAR(none.deviation, 0, 1e-12);
  EXPECT_EQ(none.of_splits.size(), 10u);
}

TEST(InceptionScore, SortedPicturesNeedTheShuffle) {
  const FeatureMatrix sorted = sure_logits(50, 40);
  EXPECT_NEAR(inception_score_in_order(sorted, 200).mean, 5, 1e-9);  // five classes a part
  EXPECT_NEAR(inception_score(sorted, 10, std::nullopt).mean, 5, 1e-9);
  EXPECT_GT(inception_score(sorted, 10).mean, 40);
  EXPECT_NE(inception_score(sorted, 10, 1).mean, inception_score(sorted, 10, 2).mean);
}

TEST(InceptionScore, SumsOverManyRowsAsOverFew) {
  // More rows than are read at once: every class as often in each half.
  EXPECT_NEAR(inception_score(sure_logits(5, 1000), 1, 3).mean, 5, 1e-9);
  EXPECT_NEAR(inception_score_in_order(sure_logits(2, 2500), 5000).mean, 2, 1e-9);
}

TEST(InceptionScore, RefusesMoreSplitsThanPictures) {
  EXPECT_CONTAINS(usage_error_of([] { inception_score(sure_logits(2, 4)); }), "of 8 pictures cannot have 10 splits");
}

}  // namespace
}  // namespace crescendo
