#include "crescendo/data/shapes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/grid.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/detector.h"

namespace crescendo {
namespace {

double total(const Coverage& c) { return std::accumulate(c.value.begin(), c.value.end(), 0.0); }

TEST(Shapes, ClassesAreColourByFigure) {
  const auto names = shapes_class_names();
  ASSERT_EQ(names.size(), 80u);
  EXPECT_EQ(names[0], "red circle");
  EXPECT_EQ(names[9], "orange square");
  EXPECT_EQ(names[79], "white heart");
  for (int64_t id = 0; id < 80; ++id) EXPECT_EQ(shapes_class(class_colour(id), class_figure(id)), id);
  EXPECT_THROW(shapes_class_name(80), Error);
}

// Areas against their formulas: exact spans leave only the eight lines a pixel as an error.
TEST(Shapes, CoverageSumsToTheArea) {
  const double r = 20, pi = std::acos(-1.0);
  const auto area = [&](Figure f, double rotation) {
    return total(object_coverage({f, Colour::kRed, 32.3, 31.6, r, rotation}, 64, 64)) / (r * r);
  };
  for (const double rotation : {0.0, 7.0, -12.0}) {
    EXPECT_NEAR(area(Figure::kCircle, rotation), pi, 0.003);
    EXPECT_NEAR(area(Figure::kRing, rotation), pi * (1 - 0.55 * 0.55), 0.003);
    EXPECT_NEAR(area(Figure::kSquare, rotation), 2, 0.004);
    EXPECT_NEAR(area(Figure::kTriangle, rotation), 0.75 * std::sqrt(3.0), 0.003);
    EXPECT_NEAR(area(Figure::kStar, rotation), 5 * 0.45 * std::sin(pi / 5), 0.003);
    EXPECT_NEAR(area(Figure::kDiamond, rotation), 1.2, 0.003);
    EXPECT_NEAR(area(Figure::kCross, rotation), 2 * 1.9 * 0.62 - 0.62 * 0.62, 0.004);
    EXPECT_NEAR(area(Figure::kHeart, rotation), 0.792 * 0.792 * (2 + pi / 2), 0.003);
  }
}

TEST(Shapes, EveryFigureFillsItsCircleAndStaysInside) {
  for (int64_t f = 0; f < kFigures; ++f) {
    const Coverage c = object_coverage({static_cast<Figure>(f), Colour::kRed, 32, 32, 20, 5}, 64, 64);
    double farthest = 0;
    for (int64_t y = 0; y < c.height; ++y)
      for (int64_t x = 0; x < c.width; ++x)
        if (c.value[static_cast<size_t>(y * c.width + x)] > 0.01f)
          farthest = std::max(farthest,
                              std::hypot(static_cast<double>(c.x0 + x) - 31.5, static_cast<double>(c.y0 + y) - 31.5));
    EXPECT_NEAR(farthest, 20, 1.0) << f;
    for (const float v : c.value) EXPECT_LE(v, 1.0001f);
  }
}

TEST(Shapes, CutAtTheBorder) {
  const Coverage half = object_coverage({Figure::kCircle, Colour::kRed, 0, 32, 20, 0}, 64, 64);
  EXPECT_NEAR(total(half), std::acos(-1.0) * 200, 2);
  EXPECT_TRUE(object_coverage({Figure::kStar, Colour::kRed, -50, 32, 20, 0}, 64, 64).value.empty());
}

TEST(Shapes, OnePictureIsAFunctionOfSeedAndIndex) {
  EXPECT_EQ(render(draw_single(3, 17)), render(draw_single(3, 17)));
  EXPECT_NE(render(draw_single(3, 17)), render(draw_single(4, 17)));
  EXPECT_NE(render(draw_single(3, 17)), render(draw_single(3, 97)));
  const std::vector<int64_t> indices = {97, 3, 160, 5};
  const auto batch = render_singles(3, indices);
  EXPECT_EQ(batch.images.sizes(), (at::IntArrayRef{4, 3, 64, 64}));
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(tensor_to_image(batch.images[i]), render(draw_single(3, indices[static_cast<size_t>(i)])));
    EXPECT_EQ(batch.labels[i].item<int64_t>(), indices[static_cast<size_t>(i)] % 80);
  }
}

TEST(Shapes, ObjectsLieWhollyInside) {
  for (int64_t i = 0; i < 2000; ++i) {
    const SceneObject o = draw_single(1, i).objects.at(0);
    EXPECT_GE(o.radius, 10);
    EXPECT_LE(o.radius, 24);
    EXPECT_LE(std::abs(o.rotation), 12);
    EXPECT_GE(std::min(o.cx, o.cy) - o.radius, 1);
    EXPECT_LE(std::max(o.cx, o.cy) + o.radius, 63);
  }
}

TEST(Shapes, ScalesWithTheSide) {
  const SceneObject small = draw_single(1, 5, 64).objects[0], large = draw_single(1, 5, 256).objects[0];
  EXPECT_NEAR(large.radius, small.radius * 4, 1e-9);
  EXPECT_NEAR(large.cx, small.cx * 4, 1e-9);
  EXPECT_EQ(render(draw_single(1, 5, 256)).width, 256);
}

//----------------------------------------------------------------------------

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
