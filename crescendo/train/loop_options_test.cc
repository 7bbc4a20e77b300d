// Each option of the loop acts: what is seen here is the first update of a tiny model.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "crescendo/train/test_support.h"
#include "tests/support.h"

namespace crescendo {
namespace {

using test::checkpoint;
using test::log_lines;
using test::relative_l2;
using test::run;
using test::tiny_training;

// One step at the full rate.
TrainConfig one_step() {
  TrainConfig c = tiny_training();
  c.train.images = c.train.batch = 4;
  c.train.log_images = 4;
  c.train.lr_schedule.warmup_images = 0;
  return c;
}

// What a run leaves, and its log.
struct Left {
  explicit Left(const TrainConfig& c) {
    const test::TemporaryDirectory folder;
    run(c, folder.path());
    tensors = checkpoint(folder.path()).tensors;
    log = log_lines(folder.path());
  }
  Tensor operator[](const std::string& name) const { return tensors.at(name); }
  double norm(const std::string& prefix) const {  // over all tensors of that prefix
    double sum = 0;
    for (const auto& [name, tensor] : tensors)
      if (name.starts_with(prefix)) sum += tensor.to(at::kDouble).square().sum().item<double>();
    return std::sqrt(sum);
  }
  double logged(const char* key, size_t line = 0) const { return log.at(line).at(key).get<double>(); }

  TensorMap tensors;
  std::vector<Json> log;
};

Tensor initial(const TrainConfig& c, const std::string& name) {
  return FarModel::random(c.model, 1)->params().map().at(name);
}

TEST(LoopOptions, TheGradientIsClipped) {
  TrainConfig c = one_step();
  c.train.adamw.beta1 = 0.75;  // exp_avg is a quarter of the gradient that was used
  c.train.grad_clip = 0;
  const Left free(c);
  const double norm = free.logged("grad_norm");
  EXPECT_NEAR(free.norm("exp_avg."), norm / 4, 1e-4 * norm);
  for (const double limit : {norm / 10, norm * 10}) {
    c.train.grad_clip = limit;
    const Left clipped(c);
    EXPECT_NEAR(clipped.norm("exp_avg."), std::min(limit, norm) / 4, 1e-4 * norm);
    EXPECT_DOUBLE_EQ(clipped.logged("grad_norm"), norm);  // as it was before
  }
}

TEST(LoopOptions, TheOptimizersReachIt) {
  TrainConfig c = one_step();
  const std::string matrix = "encoder_blocks.0.attn.qkv.weight";
  const std::string bias = "diffloss.net.final_layer.linear.bias";  // starts at zero; the first step moves it
  c.train.adamw.weight_decay = 0;
  const Left plain(c);
  EXPECT_GT(plain["model." + bias].norm().item<double>(), c.train.lr);
  c.train.adamw.weight_decay = 0.5;
  const Left decayed(c);
  const Tensor shrunk = plain["model." + matrix] - decayed["model." + matrix];
  EXPECT_LT(relative_l2(shrunk, initial(c, matrix) * (c.train.lr * 0.5)), 1e-2);
  c.train.adamw.beta2 = 0.5;  // exp_avg_sq is half a square in place of a twentieth
  EXPECT_LT(relative_l2(Left(c)["exp_avg_sq." + bias], plain["exp_avg_sq." + bias] * 10), 1e-4);
  c.train.adamw.eps = 1e6;  // next to nothing is left of the step
  EXPECT_LT(Left(c)["model." + bias].norm().item<double>(), 1e-6);
}

TEST(LoopOptions, TheRateFollowsItsSchedule) {
  TrainConfig c = one_step();
  c.train.images = 40;
  c.train.lr_schedule = {.shape = LrShape::kLinear, .warmup_images = 16, .end = 0.25};
  const Left run(c);
  for (size_t step = 0; step < 10; ++step)
    EXPECT_DOUBLE_EQ(run.logged("lr", step),
                     learning_rate(c.train.lr_schedule, c.train.lr, 4 * static_cast<int64_t>(step), 40));
  // And is what moves the weights: the first step of AdamW moves each by the rate.
  for (const int64_t warmup : {0, 5000}) {
    TrainConfig first = one_step();
    first.train.lr_schedule.warmup_images = warmup;
    const double rate = learning_rate(first.train.lr_schedule, first.train.lr, 0, 4);
    const Tensor moved = Left(first)["model.diffloss.net.final_layer.linear.bias"].abs();  // was zero
    EXPECT_NEAR(moved.max().item<double>(), rate, 0.02 * rate) << warmup;
  }
}

TEST(LoopOptions, TheAverageFollowsTheWeights) {
  TrainConfig c = one_step();
  const std::string name = "diffloss.net.final_layer.linear.bias";  // starts at zero
  const auto share = [&](double decay, bool warmup) {               // of the first step that the average makes
    c.train.ema = decay;
    c.train.ema_warmup = warmup;
    const Left run(c);
    return run["ema." + name].norm().item<double>() / run["model." + name].norm().item<double>();
  };
  EXPECT_NEAR(share(0, false), 1, 1e-6);
  EXPECT_NEAR(share(0.75, false), 0.25, 1e-6);
  EXPECT_NEAR(share(0.75, true), 0.9, 1e-6);  // the decay of the first update is 1/10
}

// With a level for each batch all levels come all the same, other ones with another seed.
TEST(LoopOptions, BatchesAreDrawnAnew) {
  TrainConfig c = one_step();
  c.train.images = 80;
  c.objective.level_draw = LevelDraw::kBatch;
  const auto levels = [&](int64_t seed) {
    c.train.seed = seed;
    std::vector<std::string> out;
    for (const Json& line : Left(c).log) {
      EXPECT_EQ(line["loss_per_level"].size(), 1u);
      out.push_back(line["loss_per_level"].begin().key());
    }
    return out;
  };
  const auto first = levels(0), second = levels(1);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 4u);
  EXPECT_NE(first, second);
}

TEST(LoopOptions, ConditionsAreDropped) {
  for (const double rate : {0.0, 1.0}) {
    TrainConfig c = one_step();
    c.objective.label_dropout = rate;
    c.train.images = 12;  // at the first step nothing of the transformer moves: the head's last layer is zero
    const Left run(c);
    EXPECT_EQ(run["exp_avg.class_emb.weight"].norm().item<double>() > 0, rate == 0);
    EXPECT_EQ(run["exp_avg.fake_latent"].norm().item<double>() > 0, rate == 1);
  }
}

TEST(LoopOptions, DropoutReachesTheModel) {
  TrainConfig c = one_step();
  c.train.images = 12;
  c.objective.attention_dropout = c.objective.projection_dropout = 0;
  const Left none(c);
  const char* const name = "exp_avg.encoder_blocks.0.mlp.fc1.weight";
  for (double* rate : {&c.objective.attention_dropout, &c.objective.projection_dropout}) {
    *rate = 0.5;
    EXPECT_GT(relative_l2(Left(c)[name], none[name]), 1e-2);
    *rate = 0;
  }
}

}  // namespace
}  // namespace crescendo
