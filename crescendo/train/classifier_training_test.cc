#include "crescendo/train/classifier_training.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/data/shapes_dataset.h"
#include "tests/support.h"

namespace crescendo {
namespace {

ClassifierTrainingOptions tiny_options() {
  ClassifierTrainingOptions o;
  o.classifier = {.side = 16, .widths = {8, 16}, .norm_groups = 4, .grid = 2, .classes = kShapeClasses};
  o.images = 6400;
  o.batch = 32;
  o.lr = 1e-2;
  o.lr_schedule.warmup_images = 320;
  o.held_out = 160;
  o.log_images = 3200;
  return o;
}

TrainingImages shapes(int64_t count) {
  std::vector<std::unique_ptr<Dataset>> sets;
  sets.push_back(std::make_unique<ShapesDataset>(count, 1, 16));
  return {std::move(sets), 0};
}

class ClassifierTraining : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::kQuiet); }
  void TearDown() override { set_log_level(LogLevel::kNormal); }
  test::TemporaryDirectory folder_;
};

TEST_F(ClassifierTraining, LearnsAndWritesWhatItLearned) {
  const ClassifierTrainingOptions o = tiny_options();
  const auto classifier = Classifier::random(o.classifier, 0);
  const TrainingImages images = shapes(1600);
  const ClassifierTrainingResult result =
      train_classifier(*classifier, images, shapes_class_names(), o, folder_.path(), {{"data", "here"}});
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.images, 6400);
  EXPECT_GT(result.held_out.accuracy, 0.05) << "chance is 1 in 80";
  // What lies on disk is what is in memory.
  const auto read = ClassifierFeatures::load(folder_.path());
  EXPECT_EQ(read->labels(), shapes_class_names());
  const Json config = read_json(folder_ / "config.json");
  EXPECT_EQ(config["training"]["data"], "here");
  EXPECT_EQ(config["training"]["held_out_accuracy"].get<double>(), result.held_out.accuracy);
  const Image picture = render(draw_single(3, 4, 16));
  const Tensor x = read->prepare(picture).unsqueeze(0);
  EXPECT_TRUE(at::equal((*read)(x).logits, (*classifier)(x).logits));
  const std::string log = read_file(folder_ / "log.jsonl");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2);
}

TEST_F(ClassifierTraining, IsTheSameFromTheSameSeed) {
  ClassifierTrainingOptions o = tiny_options();
  o.images = 96;
  const TrainingImages images = shapes(320);
  const auto trained = [&] {
    const auto classifier = Classifier::random(o.classifier, 0);
    train_classifier(*classifier, images, shapes_class_names(), o, folder_.path());
    return classifier->params().map();
  };
  const TensorMap once = trained(), again = trained();
  for (const auto& [name, tensor] : once) EXPECT_TRUE(at::equal(tensor, again.at(name))) << name;
}

TEST_F(ClassifierTraining, SaysWhatCannotBe) {
  ClassifierTrainingOptions o = tiny_options();
  const auto train = [&](int64_t count) {
    const auto classifier = Classifier::random(o.classifier, 0);
    return test::usage_error_of(
        [&] { train_classifier(*classifier, shapes(count), shapes_class_names(), o, folder_.path()); });
  };
  EXPECT_CONTAINS(train(160), "lower held_out");
  o.blur = 2;
  EXPECT_CONTAINS(train(320), "blur must be in 0..0.5");
}

}  // namespace
}  // namespace crescendo
