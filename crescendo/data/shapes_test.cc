#include "crescendo/data/shapes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"

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

}  // namespace
}  // namespace crescendo
