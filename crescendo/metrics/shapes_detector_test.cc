#include "crescendo/metrics/shapes_detector.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/core/rng.h"
#include "crescendo/image/grid.h"

namespace crescendo {
namespace {

TEST(Detector, RightOnEveryRenderedPicture) {
  double worst = 1;
  for (int64_t i = 0; i < 4000; ++i) {
    const Scene scene = draw_single(11, i);
    const auto found = detect(render(scene));
    ASSERT_EQ(found.size(), 1u) << i;
    const SceneObject& o = scene.objects[0];
    const Detection& d = found[0];
    EXPECT_EQ(d.object.colour, o.colour) << i;
    EXPECT_EQ(d.object.figure, o.figure) << i << " " << shapes_class_name(single_class(i)) << " score " << d.score;
    EXPECT_NEAR(d.object.cx, o.cx, 0.5);
    EXPECT_NEAR(d.object.cy, o.cy, 0.5);
    EXPECT_NEAR(d.object.radius, o.radius, 0.5);
    if (o.figure != Figure::kCircle && o.figure != Figure::kRing) {
      EXPECT_NEAR(d.object.rotation, o.rotation, 4);
    }
    EXPECT_TRUE(score_single(found, single_class(i)).both());
    worst = std::min(worst, d.score);
  }
  EXPECT_GT(worst, 0.93);
  RecordProperty("worst_score", std::to_string(worst));
}

// Mild blur (a 3x3 binomial) and noise of 8 grey levels, as a decoder might add.
TEST(Detector, RightAfterBlurAndNoise) {
  int right = 0;
  constexpr int kCount = 800;
  for (int64_t i = 0; i < kCount; ++i) {
    const Image sharp = render(draw_single(12, i));
    Image image = sharp;
    Rng rng(static_cast<uint64_t>(i), Draw::kOther);
    for (int64_t y = 0; y < 64; ++y) {
      for (int64_t x = 0; x < 64; ++x) {
        for (int64_t k = 0; k < 3; ++k) {
          double sum = 0;
          for (int64_t v = -1; v <= 1; ++v)
            for (int64_t u = -1; u <= 1; ++u)
              sum += (2 - std::abs(u)) * (2 - std::abs(v)) / 16.0 *
                     sharp.pixel(std::clamp<int64_t>(x + u, 0, 63), std::clamp<int64_t>(y + v, 0, 63))[k];
          image.pixel(x, y)[k] = static_cast<uint8_t>(std::clamp(sum + 8 * rng.normal(), 0.0, 255.0));
        }
      }
    }
    right += score_single(detect(image), single_class(i)).both();
  }
  EXPECT_GE(right, kCount * 99 / 100);
  RecordProperty("right", right);
}

TEST(Detector, SeveralObjectsAndNone) {
  EXPECT_TRUE(detect(render(Scene{})).empty());
  Scene scene;
  scene.objects = {{Figure::kCircle, Colour::kRed, 16, 16, 10, 0},
                   {Figure::kStar, Colour::kBrown, 48, 16, 10, 5},
                   {Figure::kRing, Colour::kRed, 16, 46, 12, 0},
                   {Figure::kHeart, Colour::kBlack, 46, 46, 12, -5}};
  const auto found = detect(render(scene));
  ASSERT_EQ(found.size(), 4u);
  for (const SceneObject& o : scene.objects) {
    const auto match = std::find_if(found.begin(), found.end(), [&](const Detection& d) {
      return d.object.figure == o.figure && d.object.colour == o.colour &&
             std::hypot(d.object.cx - o.cx, d.object.cy - o.cy) < 1;
    });
    EXPECT_NE(match, found.end());
  }
  for (size_t i = 1; i < found.size(); ++i) EXPECT_GE(found[i - 1].score, found[i].score);
}

TEST(Detector, WrongPicturesScoreWrong) {
  const auto found = detect(render(draw_single(1, shapes_class(Colour::kRed, Figure::kStar))));
  const SingleScore other_colour = score_single(found, shapes_class(Colour::kBlue, Figure::kStar));
  EXPECT_TRUE(other_colour.found && other_colour.figure && !other_colour.colour && !other_colour.both());
  const SingleScore other_figure = score_single(found, shapes_class(Colour::kRed, Figure::kCross));
  EXPECT_TRUE(other_figure.colour && !other_figure.figure);
  EXPECT_FALSE(score_single({}, 0).found);
}

TEST(Detector, SpreadOfTheDataAgainstItself) {
  const Spread data = singles_spread(1, 2000), again = singles_spread(2, 2000);
  const SpreadRatio ratio = spread_ratio(again, data);
  EXPECT_NEAR(ratio.centre, 1, 0.06);
  EXPECT_NEAR(ratio.radius, 1, 0.06);
  std::vector<SceneObject> still(10, SceneObject{});
  EXPECT_EQ(spread_ratio(measure_spread(still), data).centre, 0);
}

}  // namespace
}  // namespace crescendo
