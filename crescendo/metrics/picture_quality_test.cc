#include "crescendo/metrics/picture_quality.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"
#include "crescendo/metrics/classifier.h"
#include "crescendo/metrics/model_scorer.h"
#include "tests/support.h"

namespace crescendo {
namespace {

constexpr int64_t kImages = 320;

const std::shared_ptr<const ClassifierFeatures>& classifier() {
  static const auto loaded = ClassifierFeatures::load(std::filesystem::path("models") / kShapesClassifier);
  return loaded;
}

std::vector<int64_t> labels() {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < kImages; ++i) out.push_back(single_class(i));
  return out;
}

// Pictures of the data that the reference below does not hold.
std::vector<Image> singles() {
  std::vector<Image> images;
  for (int64_t i = 0; i < kImages; ++i) images.push_back(render(draw_single(/*seed=*/5, i)));
  return images;
}

const SetFeatures& reference() {
  static const SetFeatures features = [] {
    const ShapesDataset set(800, 0, 64);
    return features_of(*classifier(), set, some_pictures(set, 800));
  }();
  return features;
}

PictureQuality quality(const std::vector<Image>& images) {
  return picture_quality(reference(), features_of(*classifier(), images), labels());
}

Image noisy(Image image, double levels) {
  Rng rng(7, Draw::kOther);
  for (uint8_t& v : image.rgb)
    v = static_cast<uint8_t>(std::clamp(std::lround(static_cast<double>(v) + levels * rng.normal()), 0L, 255L));
  return image;
}

// The classifier in the box tells its own data's classes, and real pictures look real.
TEST(PictureQuality, RealPicturesAreGood) {
  const PictureQuality q = quality(singles());
  EXPECT_GT(*q.asked_class, 0.99);
  EXPECT_GT(q.precision, 0.8);
  EXPECT_GT(q.recall, 0.6);
  EXPECT_GT(q.class_score, 70);
  EXPECT_LE(q.class_score, 80);
}

TEST(PictureQuality, DistanceRisesWithDamage) {
  double before = quality(singles()).frechet;
  for (const double levels : {8.0, 12.0, 16.0}) {
    std::vector<Image> images;
    for (const Image& image : singles()) images.push_back(noisy(image, levels));
    const double now = quality(images).frechet;
    EXPECT_GT(now, before * 1.05) << levels;
    before = now;
  }
}

// A model that draws one colour only has good pictures, and misses most of the data.
TEST(PictureQuality, FewClassesAreSeenInRecallAndScore) {
  std::vector<Image> images;
  std::vector<int64_t> asked;
  for (int64_t i = 0; i < kImages; ++i) {
    const int64_t index = i / kFigures * kShapeClasses + i % kFigures;  // red ones
    images.push_back(render(draw_single(5, index)));
    asked.push_back(single_class(index));
  }
  const PictureQuality all = quality(singles());
  const PictureQuality q = picture_quality(reference(), features_of(*classifier(), images), asked);
  EXPECT_GT(*q.asked_class, 0.99);
  EXPECT_GT(q.precision, 0.8);
  EXPECT_LT(q.recall, all.recall / 2);
  EXPECT_LT(q.class_score, 8.1);
  EXPECT_GT(q.frechet, 3 * all.frechet);
}

// So does one that draws in the middle alone.
TEST(PictureQuality, CollapsedPlacesAreSeen) {
  std::vector<Image> images;
  for (int64_t i = 0; i < kImages; ++i) {
    Scene scene = draw_single(5, i);
    scene.objects[0].cx = scene.objects[0].cy = 32;
    images.push_back(render(scene));
  }
  EXPECT_GT(quality(images).frechet, 1.5 * quality(singles()).frechet);
}

TEST(QualityScorer, ReportsBesideRealPictures) {
  const ShapesDataset set(kImages * 2, 0, 64);
  const QualityScorer scorer(classifier(), set, kImages, kImages, labels());
  const Score score = scorer.score(singles());
  const Json& json = score.json["quality"];
  EXPECT_EQ(json["features"]["name"], "shapes-classifier");
  EXPECT_EQ(json["real_images"], kImages);
  EXPECT_NEAR(json["fd"].get<double>() / json["of_real"]["fd"].get<double>(), 1, 0.3);
  EXPECT_TRUE(score.table.starts_with("FD (shapes classifier) ")) << score.table;
  EXPECT_CONTAINS(score.table, "(real pictures ");
  EXPECT_TRUE(score.line.starts_with("FD (shapes classifier) ")) << score.line;
  // A set that has no others to compare with is silent about them.
  const Score small = QualityScorer(classifier(), set, 2 * kImages, kImages).score(singles());
  EXPECT_FALSE(small.json["quality"].contains("of_real"));
  EXPECT_FALSE(small.json["quality"].contains("asked_class"));
  EXPECT_CONTAINS(test::error_of([&] { scorer.score({Image(64, 64)}); }), "more than 3 pictures, got 1");
}

TEST(ModelScorer, JoinsWhatApplies) {
  ModelScoring s{.classifier = classifier(),
                 .real = std::make_shared<ShapesDataset>(200, 0, 64),
                 .side = 64,
                 .token_side = 16,
                 .images = 80,
                 .class_names = shapes_class_names(),
                 .real_images = 100};
  std::vector<Image> images = singles();
  images.resize(80);
  s.labels = labels();
  s.labels.resize(80);
  const Score shapes = model_scorer(s)->score(images);
  EXPECT_EQ(shapes.what, "80 images of 80 classes");
  for (const char* key : {"both", "seams", "quality"}) EXPECT_TRUE(shapes.json.contains(key)) << key;
  EXPECT_TRUE(shapes.json["quality"].contains("asked_class"));
  s.class_names = {};
  s.token_side = 1;
  const Score others = model_scorer(s)->score(images);
  for (const char* key : {"both", "seams"}) EXPECT_FALSE(others.json.contains(key)) << key;
  EXPECT_FALSE(others.json["quality"].contains("asked_class"));
}

// Of a set sorted by class, in whatever proportions.
TEST(SomePictures, AreOfEveryClassAndApart) {
  const ShapesDataset set(1000, 0, 16);
  const std::vector<int64_t> first = some_pictures(set, 160), next = some_pictures(set, 160, 160);
  std::vector<int64_t> seen(80, 0), chosen = first;
  for (const int64_t index : first) ++seen[static_cast<size_t>(set.label(index))];
  EXPECT_EQ(seen, std::vector<int64_t>(80, 2));
  chosen.insert(chosen.end(), next.begin(), next.end());
  EXPECT_EQ(std::set<int64_t>(chosen.begin(), chosen.end()).size(), 320u);
  EXPECT_EQ(some_pictures(set, 2000).size(), 1000u);
  EXPECT_TRUE(some_pictures(set, 5, 1000).empty());
}

}  // namespace
}  // namespace crescendo
