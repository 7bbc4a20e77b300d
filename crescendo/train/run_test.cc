// Whole runs of a tiny model on shapes, as the command starts them.
#include "crescendo/train/run.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/train/resume.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::usage_error_of;

Recipe tiny_recipe() {
  Recipe recipe;
  value_from_json(recipe, Json::parse(R"({
    "data": "shapes:count=16", "tokenizer": "models/shapes-64/tokenizer",
    "model": {"width": 16, "encoder_blocks": 1, "decoder_blocks": 1, "heads": 2, "diffusion_width": 16,
              "diffusion_blocks": 1, "latent_channels": 3, "patch": 4, "buffer_size": 2, "classes": 81},
    "objective": {"diffusion_batch_mul": 1},
    "train": {"images": 16, "batch": 8, "lr_schedule": {"warmup_images": 0}, "sample_images": 8},
    "sampler": {"preset": "fast"}})"),
                  "the test");
  return recipe;
}

class RunTest : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::kQuiet); }
  void TearDown() override { set_log_level(LogLevel::kNormal); }
  RunOptions run_in(const char* name) const { return {.out = folder_ / name}; }
  test::TemporaryDirectory folder_;
};

TEST_F(RunTest, DrawsWhatIsChosenAndKeepsItsScore) {
  Recipe recipe = tiny_recipe();
  const RunOptions run = run_in("scored");
  recipe.settle(run);
  std::vector<size_t> drawn;
  const auto choose = [&](const ModelInfo& info) {
    EXPECT_EQ(info.labels.size(), 81u);
    EXPECT_EQ(info.labels.back(), "class 80") << "room for a class that the data lack";
    return SampleTask{.labels = {3, 70}, .prompts = {}, .score = [&](const std::vector<Image>& images) {
                        drawn.push_back(images.size());
                        return SampleScore{{{"good", 1}}, "good"};
                      }};
  };
  EXPECT_EQ(run_training(recipe, run, choose).images, 16);
  EXPECT_EQ(drawn, (std::vector<size_t>{2, 2}));
  const std::string scores = read_file(run.out / "scores.jsonl");
  EXPECT_EQ(std::count(scores.begin(), scores.end(), '\n'), 2);
  EXPECT_TRUE(scores.starts_with(R"({"good":1,"images_trained":8,"seconds":)")) << scores;
  EXPECT_TRUE(std::filesystem::exists(run.out / "samples" / "0000000016.png"));
  EXPECT_TRUE(has_tokenizer(run.out / kRunModel));
  EXPECT_TRUE(fields_equal(*begun_recipe(run.out), recipe));
}

// The score alone, of as many pictures as asked for, and the weights are trained on as if there were none.
TEST_F(RunTest, EvaluatesWithoutTouchingTheTraining) {
  Recipe recipe = tiny_recipe();
  recipe.config.train.sample_images = 0;
  const RunOptions plain = run_in("plain"), measured = run_in("measured");
  recipe.settle(plain);
  const auto nothing = [](const ModelInfo&) { return SampleTask(); };
  run_training(recipe, plain, nothing);
  recipe.config.train.evaluate_images = 8;
  std::vector<size_t> judged;
  run_training(recipe, measured, nothing, [&](const ModelInfo& info, const RunData& data) {
    EXPECT_EQ(info.labels.size(), 81u);
    EXPECT_EQ(data.set->size(), 16);
    EXPECT_EQ(data.side, 64);
    EXPECT_EQ(data.token_side, 16);
    SampleTask task;
    task.labels = {3, 70, 5};
    task.score = [&](const std::vector<Image>& images) {
      judged.push_back(images.size());
      return SampleScore{{{"good", 1}}, "good"};
    };
    task.sheet = false;
    return task;
  });
  EXPECT_EQ(judged, (std::vector<size_t>{3, 3}));
  EXPECT_FALSE(std::filesystem::exists(measured.out / "samples"));
  const std::string scores = read_file(measured.out / "scores.jsonl");
  EXPECT_EQ(std::count(scores.begin(), scores.end(), '\n'), 2);
  EXPECT_EQ(read_file(plain.out / kRunModel / "model.safetensors"),
            read_file(measured.out / kRunModel / "model.safetensors"));
}

TEST_F(RunTest, ResumesOnlyWhatWasBegun) {
  Recipe recipe = tiny_recipe();
  recipe.config.train.sample_images = 0;
  RunOptions run = run_in("resumed");
  recipe.settle(run);
  const auto nothing = [](const ModelInfo&) { return SampleTask(); };
  run_training(recipe, run, nothing);
  EXPECT_CONTAINS(usage_error_of([&] { run_training(recipe, run, nothing); }), "`resume` goes on with it");
  run.resume = true;
  Recipe other = recipe;
  other.data = "shapes:count=17";
  EXPECT_CONTAINS(usage_error_of([&] { run_training(other, run, nothing); }),
                  "begun with `data` shapes:count=16, and now it is `data` shapes:count=17");
  other = recipe;
  other.config.flip = true;
  EXPECT_CONTAINS(usage_error_of([&] { run_training(other, run, nothing); }), "begun with flip=false");
  recipe.config.train.images = 24;
  EXPECT_EQ(run_training(recipe, run, nothing).images, 24);
}

TEST(Recipe, SaysWhatLacksByTheNameOfTheField) {
  const auto settled = [](const char* changed, RunOptions run) {
    return usage_error_of([&] {
      Recipe recipe = tiny_recipe();
      set_field(recipe, changed);
      recipe.settle(run);
    });
  };
  EXPECT_CONTAINS(settled("data=\"\"", {}), "`data` FOLDER");
  EXPECT_CONTAINS(settled("tokenizer=\"\"", {}), "`tokenizer` DIR");
  EXPECT_CONTAINS(settled("flip=false", {.out = {}, .init_partial = true}), "`init_partial` goes with `init`");
  EXPECT_CONTAINS(settled("flip=false", {.out = {}, .resume = true, .init = "shapes-64"}), "contradict");
  EXPECT_CONTAINS(settled("model.heads=3", {}), "not a multiple of heads");
}

}  // namespace
}  // namespace crescendo
