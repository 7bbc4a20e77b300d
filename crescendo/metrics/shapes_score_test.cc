#include "crescendo/metrics/shapes_score.h"

#include <gtest/gtest.h>

#include "crescendo/data/shapes.h"
#include "tests/support.h"

namespace crescendo {
namespace {

constexpr int64_t kCount = 800;

// Pictures of the data set with a seed that the score's own reference does not use.
std::vector<Image> singles() {
  std::vector<Image> images;
  for (int64_t i = 0; i < kCount; ++i) images.push_back(render(draw_single(/*seed=*/5, i)));
  return images;
}

std::vector<int64_t> labels(int64_t shift) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < kCount; ++i) out.push_back((single_class(i) + shift) % kShapeClasses);
  return out;
}

TEST(ShapesScore, DataScoresFullAndSpreadsAsItself) {
  const ShapesScore score = score_shapes(singles(), labels(0));
  EXPECT_EQ(score.images, kCount);
  EXPECT_EQ(score.found, kCount);
  EXPECT_EQ(score.colour, kCount);
  EXPECT_EQ(score.shape, kCount);
  EXPECT_EQ(score.both, kCount);
  EXPECT_EQ(score.outline, kCount);
  EXPECT_GT(score.overlap, 0.95);
  EXPECT_NEAR(score.centre_spread, 1, 0.06);
  EXPECT_NEAR(score.size_spread, 1, 0.06);
}

// Class id = colour * 8 + figure, so a shift says which half of the answer is wrong.
TEST(ShapesScore, WrongLabelsAreCountedByPart) {
  const auto images = singles();
  const ShapesScore colours = score_shapes(images, labels(kFigures));
  EXPECT_EQ(colours.colour, 0);
  EXPECT_EQ(colours.shape, kCount);
  EXPECT_EQ(colours.both, 0);
  const ShapesScore figures = score_shapes(images, labels(1));
  EXPECT_EQ(figures.shape, 0);
  EXPECT_EQ(figures.colour, kCount * 7 / 8);  // the last figure of a colour is followed by the next colour
  EXPECT_EQ(figures.both, 0);
}

TEST(ShapesScorer, ReportsForMachinesLogsAndReaders) {
  const Score report = ShapesScorer(labels(kFigures)).score(singles());
  EXPECT_EQ(report.what, "800 images of 80 classes");
  EXPECT_EQ(report.json["shape"]["share"], 1.0);
  EXPECT_TRUE(report.line.starts_with("colour 0 %, shape 100 %, both 0 % of 800 samples; spread of centres "));
  EXPECT_CONTAINS(report.table, "shape          100.0 %  (95 % interval 99.5 to 100.0)\n");
  EXPECT_TRUE(report.pictures.empty());
}

TEST(ShapesScore, CollapsedPlacesSpreadLittle) {
  std::vector<Image> images;
  for (int64_t i = 0; i < kCount; ++i) {
    Scene scene = draw_single(5, i);
    SceneObject& object = scene.objects[0];
    object.cx = 32 + (object.cx - 32) / 4;
    object.cy = 32 + (object.cy - 32) / 4;
    object.radius = 15;
    images.push_back(render(scene));
  }
  const ShapesScore score = score_shapes(images, labels(0));
  EXPECT_EQ(score.both, kCount);
  EXPECT_NEAR(score.centre_spread, 0.25, 0.05);
  EXPECT_LT(score.size_spread, 0.2);
}

// Outlines that are gnawed at keep their shape's name before they keep their outline.
TEST(ShapesScore, SpoiltOutlinesOverlapLess) {
  std::vector<Image> images;
  for (int64_t i = 0; i < 80; ++i) {
    const Scene scene = draw_single(5, i);
    const SceneObject& object = scene.objects[0];
    Image image = render(scene);
    const auto x0 = static_cast<int64_t>(object.cx), y0 = static_cast<int64_t>(object.cy - object.radius);
    for (int64_t y = y0; y < y0 + static_cast<int64_t>(object.radius); ++y)
      for (int64_t x = x0; x < x0 + 4; ++x) std::fill_n(image.pixel(x, y), 3, kGround);
    images.push_back(std::move(image));
  }
  std::vector<int64_t> classes = labels(0);
  classes.resize(80);
  const ShapesScore score = score_shapes(images, classes);
  EXPECT_GT(score.shape, 40);
  EXPECT_LT(score.outline, 20);
  EXPECT_LT(score.overlap, 0.92);
}

TEST(ShapesScore, EmptyPicturesAreNotFound) {
  Image grey(64, 64);
  std::fill(grey.rgb.begin(), grey.rgb.end(), kGround);
  const ShapesScore score = score_shapes({grey, grey}, {0, 1});
  EXPECT_EQ(score.images, 2);
  EXPECT_EQ(score.found, 0);
  EXPECT_EQ(score.both, 0);
  EXPECT_EQ(score.outline, 0);
  EXPECT_EQ(score.overlap, 0);
  EXPECT_EQ(score.centre_spread, 0);
  EXPECT_EQ(score.size_spread, 0);
  EXPECT_CONTAINS(test::error_of([&] { score_shapes({grey}, {0, 1}); }), "1 images with 2 labels");
  EXPECT_CONTAINS(test::error_of([] { score_shapes({}, {}); }), "0 images");
}

// Wilson's interval, which stays within 0..1.
TEST(ShapesScore, SharesHaveIntervals) {
  const Json share = ShapesScore::share(95, 100);
  EXPECT_DOUBLE_EQ(share["share"].get<double>(), 0.95);
  EXPECT_NEAR(share["low"].get<double>(), 0.8882, 5e-4);
  EXPECT_NEAR(share["high"].get<double>(), 0.9785, 5e-4);
  EXPECT_DOUBLE_EQ(ShapesScore::share(10, 10)["high"].get<double>(), 1);
  EXPECT_NEAR(ShapesScore::share(10, 10)["low"].get<double>(), 0.7225, 5e-4);
  EXPECT_DOUBLE_EQ(ShapesScore::share(0, 10)["low"].get<double>(), 0);
}

}  // namespace
}  // namespace crescendo
