#include "crescendo/metrics/seams.h"

#include <gtest/gtest.h>

#include <cmath>

#include "crescendo/data/shapes.h"
#include "tests/support.h"

namespace crescendo {
namespace {

std::vector<Image> singles(int64_t count) {
  std::vector<Image> images;
  for (int64_t i = 0; i < count; ++i) images.push_back(render(draw_single(5, i)));
  return images;
}

// Every second token, as on a chess board, `levels` lighter.
void add_seams(Image& image, int64_t token_side, int levels) {
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x)
      if ((x / token_side + y / token_side) % 2 == 1)
        for (int k = 0; k < 3; ++k) {
          uint8_t& v = image.pixel(x, y)[k];
          v = static_cast<uint8_t>(std::min(255, v + levels));
        }
}

TEST(Seams, KnownSteps) {
  // Columns 0 0 10 10 30 30: steps of 10 and 20 across borders of tokens of 2, none inside; rows are alike.
  Image image(6, 6);
  for (int64_t y = 0; y < 6; ++y)
    for (int64_t x = 0; x < 6; ++x)
      std::fill_n(image.pixel(x, y), 3, static_cast<uint8_t>(x < 2 ? 0 : x < 4 ? 10 : 30));
  const Seams two = measure_seams({image}, 2);
  EXPECT_DOUBLE_EQ(two.across, 15.0 / 2);  // half of the borders lie between rows
  EXPECT_DOUBLE_EQ(two.inside, 0);
  EXPECT_TRUE(std::isinf(two.ratio()));
  const Seams three = measure_seams({image}, 3);
  EXPECT_DOUBLE_EQ(three.across, 0);
  EXPECT_DOUBLE_EQ(three.inside, (10 + 20) / 8.0);  // steps 0, 10 | 20, 0, and four of rows
  EXPECT_DOUBLE_EQ(measure_seams({Image(6, 6)}, 2).ratio(), 1) << "no steps, no seams";
}

TEST(Seams, RiseWithTheStepAtTheBorder) {
  const std::vector<Image> real = singles(80);
  double before = measure_seams(real, 16).ratio();
  for (const int levels : {1, 2, 8}) {
    std::vector<Image> images = real;
    for (Image& image : images) add_seams(image, 16, levels);
    const double ratio = measure_seams(images, 16).ratio();
    EXPECT_GT(ratio, before + 0.05) << levels;
    EXPECT_LT(measure_seams(images, 5).ratio(), 1.1) << "they lie between tokens of 16 alone";
    before = ratio;
  }
}

TEST(SeamScorer, ReportsBesideRealPictures) {
  const std::vector<Image> real = singles(80);
  const SeamScorer scorer(16, measure_seams(real, 16));
  const Score same = scorer.score(real);
  EXPECT_EQ(same.json["seams"]["over_real"], 1.0);
  EXPECT_EQ(same.line, "seams 1.00 of real pictures'");
  EXPECT_CONTAINS(same.table, "(real pictures ");
  EXPECT_FALSE(has_seams(1, 64));
  EXPECT_FALSE(has_seams(64, 64));
  EXPECT_CONTAINS(test::error_of([&] { measure_seams(real, 64); }), "tokens of 64 pixels have no borders");
  EXPECT_CONTAINS(test::error_of([] { measure_seams({}, 16); }), "no pictures");
}

}  // namespace
}  // namespace crescendo
