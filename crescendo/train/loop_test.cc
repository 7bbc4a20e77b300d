#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <fstream>

#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/train/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

namespace fs = std::filesystem;
using test::checkpoint;
using test::error_of;
using test::expect_same_tensors;
using test::log_lines;
using test::Patterns;
using test::run;
using test::tiny_training;

TEST(Train, TheLossFallsAndIsLogged) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.images = 4000;
  c.train.batch = 8;
  c.train.log_images = 800;
  c.train.lr = 5e-3;
  const TrainProgress end = run(c, folder.path());
  EXPECT_EQ(end.images, 4000);
  EXPECT_EQ(end.steps, 500);
  const auto lines = log_lines(folder.path());
  ASSERT_EQ(lines.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(lines[i]["images"], 800 * (i + 1));
    EXPECT_EQ(lines[i]["step"], 100 * (i + 1));
    EXPECT_EQ(lines[i]["loss_per_level"].size(), 4u);
    // The mean over the levels, which come about equally often.
    double mean = 0;
    for (const auto& [level, loss] : lines[i]["loss_per_level"].items()) mean += loss.get<double>() / 4;
    EXPECT_NEAR(mean, lines[i]["loss"].get<double>(), 0.05 * mean);
    for (const char* key : {"epoch", "lr", "grad_norm", "images_per_s", "seconds"})
      EXPECT_TRUE(lines[i][key].is_number()) << key;
  }
  EXPECT_LT(lines[4]["loss"].get<double>(), 0.8 * lines[0]["loss"].get<double>());
  EXPECT_EQ(end.loss, lines[4]["loss"].get<double>());
  EXPECT_EQ(read_json(folder / "options.json")["train"]["images"], 4000);
}

TEST(Train, EveryOrderLearns) {
  for (const Order order : {Order::kMar, Order::kRaster, Order::kNextScale}) {
    const test::TemporaryDirectory folder;
    TrainConfig c = tiny_training();
    c.model.order = order;
    c.model.residual = order == Order::kNextScale;
    if (order != Order::kMar) c.objective.mask = MaskDraw::kOff;
    c.objective.level_weight = false;
    c.train.images = 2400;
    c.train.batch = 8;
    c.train.log_images = 800;
    c.train.lr = 5e-3;
    EXPECT_EQ(run(c, folder.path()).images, 2400);
    const auto lines = log_lines(folder.path());
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_LT(lines[2]["loss"].get<double>(), 0.9 * lines[0]["loss"].get<double>()) << enum_name(order);
    c.train.images = 2408;
    EXPECT_EQ(run(c, folder.path(), /*resume=*/true).images, 2408);
  }
}

TEST(Train, WhatDoesNotApplyToAnOrderIsRefused) {
  const auto refused = [](Order order, auto change) {
    TrainConfig c = tiny_training();
    c.model.order = order;
    change(c.objective);
    return test::usage_error_of([&] { c.settle_model(); });
  };
  const auto nothing = [](auto&) {};
  EXPECT_CONTAINS(refused(Order::kRaster, nothing),
                  "the order raster has no frequency levels and no masks; set objective.mask=off, "
                  "objective.level_weight=false");
  EXPECT_CONTAINS(refused(Order::kNextScale, [](auto& o) { o.target = Target::kNextLevel; }), "objective.target=clean");
  EXPECT_CONTAINS(refused(Order::kNextScale, [](auto& o) { o.input_noise = 0.3; }), "use objective.self_correct");
  for (const Order order : {Order::kFar, Order::kMar, Order::kRaster})
    EXPECT_CONTAINS(refused(order, [](auto& o) { o.scale_norm = true; }),
                    "objective.loss_weight, scale_norm and self_correct belong to the order next-scale");
  TrainConfig c = tiny_training();
  c.model.order = Order::kNextScale;
  c.objective.mask = MaskDraw::kOff;
  c.objective.level_weight = false;
  c.settle_model();
  EXPECT_EQ(c.model.scales, (std::vector<int64_t>{1, 2, 4}));
  EXPECT_FALSE(c.model.masked);
}

TEST(Train, ResumedIsAsUninterruptedBitForBit) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  run(c, folder / "whole");
  TrainConfig half = c;
  half.train.images = 40;
  EXPECT_EQ(run(half, folder / "parts").steps, 10);
  EXPECT_EQ(run(c, folder / "parts", /*resume=*/true).steps, 20);
  const Safetensors whole = checkpoint(folder / "whole"), parts = checkpoint(folder / "parts");
  expect_same_tensors(parts.tensors, whole.tensors);
  // Weights, their average and both moments of each parameter.
  EXPECT_EQ(whole.tensors.size(), 4 * FarModel::random(c.model, 1)->params().items().size());
  Json a = Json::parse(whole.metadata.at("state")), b = Json::parse(parts.metadata.at("state"));
  a.erase("seconds"), b.erase("seconds");
  EXPECT_EQ(a, b);
  EXPECT_EQ(a["updates"], 20);

  // Another seed is another run, and the average is not the weights.
  c.train.seed = 1;
  run(c, folder / "other");
  EXPECT_FALSE(at::equal(checkpoint(folder / "other").tensors.at("model.z_proj.weight"),
                         whole.tensors.at("model.z_proj.weight")));
  EXPECT_FALSE(at::equal(whole.tensors.at("ema.z_proj.weight"), whole.tensors.at("model.z_proj.weight")));
}

TEST(Train, MicroBatchesGiveTheSameUpdate) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.objective.attention_dropout = c.objective.projection_dropout = 0;  // drawn per pass
  c.train.images = 12;
  for (const LevelDraw draw : {LevelDraw::kImage, LevelDraw::kBatch}) {
    c.objective.level_draw = draw;
    const auto weights = [&](int64_t micro) {
      c.train.micro_batch = micro;
      const fs::path out = folder / (enum_name(draw) + std::to_string(micro));
      run(c, out);
      return checkpoint(out).tensors;
    };
    const TensorMap whole = weights(0), ones = weights(1), threes = weights(3);
    for (const auto& [name, tensor] : whole)
      if (name.starts_with("exp_avg.") && tensor.abs().max().item<double>() > 1e-6) {
        EXPECT_LT(test::relative_l2(ones.at(name), tensor), 1e-3) << name;
        EXPECT_LT(test::relative_l2(threes.at(name), tensor), 1e-3) << name;
      } else if (name.starts_with("model.") && tensor.abs().max().item<double>() > 0.1) {
        EXPECT_LT(test::relative_l2(threes.at(name), tensor), 1e-3) << name;
      }
  }
}

TEST(Train, ATornCheckpointIsRefused) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.images = 8;
  run(c, folder.path());
  const std::string intact = read_file(folder / "checkpoint.safetensors");
  c.train.images = 16;
  for (const size_t size : {size_t{0}, size_t{5}, size_t{200}, intact.size() / 2, intact.size() - 1}) {
    std::ofstream(folder / "checkpoint.safetensors", std::ios::binary) << intact.substr(0, size);
    EXPECT_CONTAINS(error_of([&] { run(c, folder.path(), true); }), "checkpoint.safetensors") << size;
  }
  // Writing goes through a temporary file, so a crash leaves the old checkpoint beside a torn one of another name.
  std::ofstream(folder / "checkpoint.safetensors", std::ios::binary) << intact;
  std::ofstream(folder / "checkpoint.safetensors.Ab12Cd", std::ios::binary) << intact.substr(0, 100);
  EXPECT_EQ(run(c, folder.path(), true).images, 16);
}

TEST(Train, NonFiniteStepsAreSkipped) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.images = 8;
  c.train.log_images = 4;
  run(c, folder / "one");
  Patterns data;
  data.asked = 8;
  data.poisoned = [](int64_t n) { return n == 9; };
  c.train.images = 12;  // step 3 holds the NaN
  EXPECT_EQ(run(c, folder / "one", true, {}, data).steps, 3);
  EXPECT_TRUE(log_lines(folder / "one").back()["loss"].is_null());  // nothing to tell
  c.train.images = 8;
  run(c, folder / "two");
  expect_same_tensors(checkpoint(folder / "one").tensors, checkpoint(folder / "two").tensors);
  EXPECT_EQ(Json::parse(checkpoint(folder / "one").metadata.at("state"))["updates"], 2);
  // And training goes on after it; no line of the log is spoilt.
  c.train.images = 20;
  c.train.log_images = 8;
  Patterns again;
  again.poisoned = [](int64_t n) { return n == 9; };
  EXPECT_EQ(run(c, folder / "three", false, {}, again).steps, 5);
  EXPECT_EQ(Json::parse(checkpoint(folder / "three").metadata.at("state"))["updates"], 4);
  for (const Json& line : log_lines(folder / "three")) EXPECT_TRUE(line["loss"].is_number()) << line;
}

TEST(Train, ManyNonFiniteStepsInARowEndIt) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.max_bad_steps = 3;
  Patterns data;
  data.poisoned = [](int64_t n) { return n >= 8 && n < 16; };  // two in a row: goes on
  EXPECT_EQ(run(c, folder / "two", false, {}, data).images, 80);
  data.asked = 0;
  data.poisoned = [](int64_t n) { return n >= 8; };
  EXPECT_CONTAINS(error_of([&] { run(c, folder / "all", false, {}, data); }), "3 steps in a row were not finite");
  // What was learned before is kept, and finite.
  const Safetensors file = checkpoint(folder / "all");
  EXPECT_EQ(Json::parse(file.metadata.at("state"))["updates"], 2);
  for (const auto& [name, tensor] : file.tensors) EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
}

TEST(Train, ResumingMustFit) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.images = 8;
  EXPECT_CONTAINS(error_of([&] { run(c, folder.path(), true); }), "nothing to resume");
  run(c, folder.path());
  EXPECT_CONTAINS(test::usage_error_of([&] { run(c, folder.path()); }), "`resume` goes on with it");
  TrainConfig other = c;
  other.objective.vb_weight = 0.5;
  EXPECT_CONTAINS(error_of([&] { run(other, folder.path(), true); }), "another objective");
  other = c;
  other.train.seed = 2;
  EXPECT_CONTAINS(error_of([&] { run(other, folder.path(), true); }), "another objective or seed");
  other = c;
  other.model.width = 16;
  EXPECT_CONTAINS(error_of([&] { run(other, folder.path(), true); }), "of another model");
  // None of these touched the run.
  EXPECT_EQ(read_json(folder / "options.json"), value_to_json(c));
  write_safetensors(folder / "checkpoint.safetensors", {{"x", at::zeros({1})}});
  EXPECT_CONTAINS(error_of([&] { run(c, folder.path(), true); }), "not a training checkpoint");
}

// What the model is trained for follows from the objective, and older checkpoints do not say it of their model.
TEST(Train, TheModelSaysWhatItIsTrainedFor) {
  TrainConfig c = tiny_training();
  c.settle_model();
  EXPECT_EQ(c.model.predicts, Target::kClean);
  EXPECT_EQ(c.model.visible_level, 0);
  c.objective.target = Target::kNextLevel;
  c.objective.mask = MaskDraw::kCosine;
  TrainConfig settled = c;
  settled.settle_model();
  EXPECT_EQ(settled.model.predicts, Target::kNextLevel);
  EXPECT_EQ(settled.model.visible_level, c.model.levels);
  settled.settle_model();  // as a recipe read again
  settled.objective.visible_level = 2;
  EXPECT_CONTAINS(test::usage_error_of([&] { settled.settle_model(); }), "model.visible_level is 4, but trains to 2");
  settled.model.visible_level = 0;
  settled.objective.target = Target::kClean;
  EXPECT_CONTAINS(test::usage_error_of([&] { settled.settle_model(); }),
                  "model.predicts is next-level, but objective.target clean");
  TrainConfig mar = c;
  mar.model.order = Order::kMar;
  EXPECT_CONTAINS(test::usage_error_of([&] { mar.settle_model(); }), "MAR has no frequency levels");

  const test::TemporaryDirectory folder;
  c.train.images = 8;
  run(c, folder.path());
  EXPECT_EQ(read_json(folder / "options.json")["model"]["predicts"], "next-level");
  Safetensors old = checkpoint(folder.path());
  Json config = Json::parse(old.metadata.at("config"));
  for (const char* field : {"predicts", "visible_level"}) config["model"].erase(field);
  old.metadata["config"] = config.dump();
  TensorMap own;  // no longer views of the file that is written anew
  for (const auto& [name, t] : old.tensors) own[name] = t.clone();
  write_safetensors(folder / "checkpoint.safetensors", own, old.metadata);
  c.train.images = 16;
  EXPECT_EQ(run(c, folder.path(), true).images, 16);
}

TEST(Train, ASignalSavesAndStops) {
  const test::TemporaryDirectory folder;
  const TrainConfig c = tiny_training();
  class Signalling : public Patterns {
   public:
    TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override {
      if (asked == 8) std::raise(SIGTERM);  // during the third step, which is finished
      return Patterns::batch(indices, seeds);
    }
  };
  catch_interrupts();
  int64_t saves = 0;
  TrainHooks hooks;
  hooks.on_save = [&](const TrainProgress& progress, const TensorMap& weights) {
    ++saves;
    EXPECT_EQ(progress.images, 12);
    expect_same_tensors(with_prefix_removed(checkpoint(folder.path()).tensors, "ema."), weights);
  };
  EXPECT_EQ(run(c, folder.path(), false, hooks, Signalling()).steps, 3);
  EXPECT_EQ(saves, 1);
  catch_interrupts();  // forgets it
  EXPECT_EQ(run(c, folder.path(), true).steps, 20);
  run(c, folder / "whole");
  expect_same_tensors(checkpoint(folder.path()).tensors, checkpoint(folder / "whole").tensors);
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
}

TEST(Train, SamplesWhenDue) {
  const test::TemporaryDirectory folder;
  TrainConfig c = tiny_training();
  c.train.sample_images = 30;
  std::vector<int64_t> at_images;
  TrainHooks hooks;
  hooks.on_sample = [&](const TrainProgress& progress, const TensorMap& weights) {
    at_images.push_back(progress.images);
    EXPECT_TRUE(weights.contains("z_proj.weight"));
  };
  run(c, folder.path(), false, hooks);
  EXPECT_EQ(at_images, (std::vector<int64_t>{32, 60, 80}));
}

TEST(Train, OptionsThatCannotBe) {
  const auto refused = [](auto change) {
    LoopOptions o;
    change(o);
    return test::usage_error_of([&] { o.validate(); });
  };
  EXPECT_CONTAINS(refused([](auto& o) { o.batch = 0; }), "train.batch must be in 1..1048576, got 0");
  EXPECT_CONTAINS(refused([](auto& o) { o.micro_batch = o.batch + 1; }), "train.micro_batch");
  EXPECT_CONTAINS(refused([](auto& o) { o.lr = NAN; }), "train.lr");
  EXPECT_CONTAINS(refused([](auto& o) { o.ema = 1; }), "train.ema");
  EXPECT_CONTAINS(refused([](auto& o) { o.precision = "fp8"; }), "fp8");
  EXPECT_CONTAINS(refused([](auto& o) { o.max_bad_steps = 0; }), "max_bad_steps");
  EXPECT_CONTAINS(refused([](auto& o) { o.lr_schedule.end = 2; }), "lr_schedule.end");
  EXPECT_CONTAINS(test::usage_error_of([] { train_preset("pape"); }), "pape");
  for (const auto& name : train_preset_names()) EXPECT_NO_THROW(train_preset(name).train.validate()) << name;
}

}  // namespace
}  // namespace crescendo
