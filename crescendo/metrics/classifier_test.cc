#include "crescendo/metrics/classifier.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/core/rng.h"
#include "crescendo/core/sha256.h"
#include "crescendo/data/shapes.h"
#include "tests/support.h"

namespace crescendo {
namespace {

ClassifierConfig tiny_config() { return {.side = 16, .widths = {8, 16}, .norm_groups = 4, .grid = 2, .classes = 3}; }

Tensor pictures(int64_t count, int64_t side) {
  const Tensor x = at::empty({count, 3, side, side});
  Rng(1, Draw::kOther).fill_normal({x.data_ptr<float>(), static_cast<size_t>(x.numel())});
  return x;
}

TEST(Classifier, GivesFeaturesAndScoresOfEachPictureAlone) {
  const auto classifier = Classifier::random(tiny_config(), 1);
  const Tensor x = pictures(3, 16);
  const Features all = (*classifier)(x);
  EXPECT_EQ(all.pool.sizes(), (std::vector<int64_t>{3, 64}));
  EXPECT_EQ(all.logits.sizes(), (std::vector<int64_t>{3, 3}));
  EXPECT_FALSE(all.spatial.defined());
  const Features one = (*classifier)(x.slice(0, 1, 2));
  EXPECT_LT(test::relative_l2(one.pool, all.pool.slice(0, 1, 2)), 1e-6);
  EXPECT_LT(test::relative_l2(one.logits, all.logits.slice(0, 1, 2)), 1e-6);
}

// The mean over a coarse grid says where something is; a mean over the whole picture would not.
TEST(Classifier, FeaturesKnowRoughlyWhere) {
  const auto classifier = Classifier::random(tiny_config(), 1);
  const Tensor x = at::zeros({2, 3, 16, 16});
  x[0].slice(1, 2, 6).slice(2, 2, 6).fill_(1);
  x[1].slice(1, 10, 14).slice(2, 2, 6).fill_(1);
  const Tensor pool = (*classifier)(x).pool.view({2, 16, 2, 2});
  EXPECT_GT(test::relative_l2(pool[0], pool[1]), 0.02);
}

class ClassifierFolder : public testing::Test {
 protected:
  void SetUp() override {
    save_classifier(folder_ / "small", *Classifier::random(tiny_config(), 1), {"a", "b", "c"}, {{"images", 5}});
  }
  std::string load_error() {
    return test::error_of([&] { ClassifierFeatures::load(folder_ / "small"); });
  }
  void change(const std::string& file, const std::string& from, const std::string& to) {
    std::string text = read_file(folder_ / "small" / file);
    const size_t place = text.find(from);
    ASSERT_NE(place, text.npos) << text;
    write_file_atomically(folder_ / "small" / file, text.replace(place, from.size(), to));
  }
  test::TemporaryDirectory folder_;
};

TEST_F(ClassifierFolder, ComesBackAndSaysWhatItIs) {
  const auto features = ClassifierFeatures::load(folder_.path() / "small" / "");
  const Tensor x = pictures(2, 16);
  EXPECT_TRUE(at::equal((*features)(x).logits, (*Classifier::random(tiny_config(), 1))(x).logits));
  const Json identity = features->identity();
  EXPECT_EQ(identity["name"], "small");
  EXPECT_EQ(identity["weights"], sha256(read_file(folder_ / "small" / "model.safetensors")));
  save_classifier(folder_ / "other", *Classifier::random(tiny_config(), 2), {"a", "b", "c"}, Json::object());
  EXPECT_NE(identity["weights"], ClassifierFeatures::load(folder_ / "other")->identity()["weights"]);
  EXPECT_EQ(identity, ClassifierFeatures::load(folder_ / "small")->identity());
  // Larger pictures are cropped to its side.
  EXPECT_EQ(features->prepare(Image(40, 24)).sizes(), (std::vector<int64_t>{3, 16, 16}));
}

TEST_F(ClassifierFolder, SaysWhatIsWrongWithIt) {
  change("labels.txt", "c\n", "");
  EXPECT_CONTAINS(load_error(), "labels.txt has 2 lines, the classifier 3 classes");
  change("labels.txt", "b\n", "b\nc\n");
  change("config.json", "\"norm_groups\": 4", "\"norm_groups\": 3");
  EXPECT_CONTAINS(load_error(), "multiples of 3");
  change("config.json", "\"norm_groups\": 3", "\"norm_groups\": 8");
  EXPECT_TRUE(ClassifierFeatures::load(folder_ / "small"));
  change("config.json", "\"grid\": 2", "\"grid\": 5");
  EXPECT_CONTAINS(load_error(), "classifier.grid must be in 1..4");
  change("config.json", "\"grid\": 5", "\"grod\": 2");
  EXPECT_CONTAINS(load_error(), "did you mean 'grid'?");
  change("config.json", "\"grod\": 2", "\"side\": 32");
  change("config.json", "crescendo-classifier-1", "crescendo-model-1");
  EXPECT_CONTAINS(load_error(), "has not the format crescendo-classifier-1; `crescendo evaluate train-classifier`");
}

TEST_F(ClassifierFolder, WeightsOfOtherSizesAreNamed) {
  ClassifierConfig wide = tiny_config();
  wide.widths = {8, 24};
  save_classifier(folder_ / "wide", *Classifier::random(wide, 1), {"a", "b", "c"}, Json::object());
  write_file_atomically(folder_ / "small" / "model.safetensors", read_file(folder_ / "wide" / "model.safetensors"));
  EXPECT_CONTAINS(load_error(), "head.weight has shape [3, 24], expected [3, 16]");
}

}  // namespace
}  // namespace crescendo
