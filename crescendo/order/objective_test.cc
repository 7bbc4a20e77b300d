#include "crescendo/order/objective.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/generated/variable_factories.h>  // backward() needs autograd linked in

#include <cmath>
#include <numbers>
#include <set>

#include "crescendo/core/rng.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/diffusion/gaussian.h"
#include "crescendo/order/masks.h"
#include "crescendo/order/plan.h"
#include "tests/support.h"
#include "tests/tiny_model.h"

namespace crescendo {
namespace {

using test::lively_model;
using test::relative_l2;
using test::tiny_config;
using test::tiny_text_config;

Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

std::vector<uint64_t> seeds(int64_t count) {
  std::vector<uint64_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(derive_seed(7, static_cast<uint64_t>(i)));
  return out;
}

// Nothing random but the level, the mask and the diffusion.
ObjectiveOptions plain(ObjectiveOptions o = {}) {
  o.label_dropout = o.attention_dropout = o.projection_dropout = 0;
  return o;
}

// A model with a batch of `count` latents and its conditions.
struct Batch {
  explicit Batch(int64_t count, const ModelConfig& config = tiny_config(),
                 std::unique_ptr<FarModel> given_model = nullptr)
      : model(given_model ? std::move(given_model) : lively_model(config)),
        lowpass(config.latent_height, config.latent_width, config.levels, config.filter),
        latents(normal({count, config.latent_channels, config.latent_height, config.latent_width}, 3)),
        text(normal({count, config.text_length, config.text_hidden}, 4)),
        labels(at::arange(count, at::kLong).remainder(config.classes)) {}

  Tensor condition() const {
    return model->config().is_text() ? model->conditions().text_condition(text)
                                     : model->conditions().class_condition(labels);
  }
  // Of images begin..end.
  ObjectiveResult part(const ObjectiveOptions& o, int64_t begin, int64_t end, uint64_t batch_seed = 5) const {
    const auto all = seeds(latents.size(0));
    return objective(*model, o, lowpass,
                     {latents.slice(0, begin, end),
                      condition().slice(0, begin, end),
                      {all.begin() + begin, all.begin() + end},
                      batch_seed});
  }
  ObjectiveResult operator()(const ObjectiveOptions& o, uint64_t batch_seed = 5) const {
    return part(o, 0, latents.size(0), batch_seed);
  }

  std::unique_ptr<FarModel> model;
  Lowpass lowpass;
  Tensor latents, text, labels;
};

//----------------------------------------------------------------------------
// The loss.

// Loss of image b, one token and one draw at a time, from the parts that have tests of their own.
double reference_loss(const Batch& batch, const ObjectiveOptions& o, int64_t b, const ObjectiveResult& drawn) {
  const FarModel& model = *batch.model;
  const ModelConfig& m = model.config();
  const int64_t tokens = m.tokens(), channels = m.token_channels(), draws = o.diffusion_batch_mul;
  const auto level = drawn.levels[b].item<int64_t>();
  const uint64_t seed = seeds(b + 1).back();
  Rng timestep(seed, Draw::kTimestep);
  std::vector<int64_t> t;
  for (int64_t i = 0; i < draws * tokens; ++i) {
    const bool terminal = o.terminal_share > 0 && timestep.uniform() < o.terminal_share;
    t.push_back(terminal ? 999 : static_cast<int64_t>(1000 * std::pow(timestep.uniform(), 1 / o.timestep_power)));
  }
  const Tensor noise = at::empty({draws, tokens, channels});
  Rng(seed, Draw::kDiffusion).fill_normal({noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});

  const Tensor x = batch.latents.slice(0, b, b + 1);
  const Tensor clean = o.target == Target::kClean ? x : batch.lowpass(x, level + 1);
  const Tensor target = patchify(clean, m.patch)[0];  // (L, C)
  const TokenMask mask = drawn.missing.defined() ? TokenMask::of(drawn.missing.slice(0, b, b + 1)) : TokenMask::none();
  Rng input_noise(seed, Draw::kInputNoise);
  const double sigma = input_noise.uniform(0, o.input_noise);
  const Tensor wrong = at::empty_like(x);
  input_noise.fill_normal({wrong.data_ptr<float>(), static_cast<size_t>(wrong.numel())});
  const Tensor z = model.backbone().forward(patchify(batch.lowpass(x + sigma * wrong, level), m.patch),
                                            batch.condition().slice(0, b, b + 1), mask)[0];  // (L, D)
  double sum = 0;
  int64_t count = 0;
  for (int64_t l = 0; l < tokens; ++l) {
    if (o.loss_over == LossOver::kMasked && !drawn.missing[b][l].item<bool>()) continue;
    for (int64_t k = 0; k < draws; ++k) {
      const Tensor time = at::tensor({t[static_cast<size_t>(k * tokens + l)]}, at::kLong);
      const Tensor x0 = target[l].unsqueeze(0), eps = noise[k][l].unsqueeze(0), x_t = q_sample(x0, time, eps);
      const Tensor y = model.head().condition(z[l].unsqueeze(0), at::full({1, 1}, static_cast<double>(level)));
      const DiffusionLoss loss =
          diffusion_loss(model.head().forward(x_t, y + model.head().time_embedding(time)), x0, x_t, time, eps);
      const double weight = time.item<int64_t>() == 999 ? o.terminal_weight : 1;
      sum += weight * loss.mse.item<double>() + o.vb_weight * loss.vb.item<double>();
      ++count;
    }
  }
  return sum / static_cast<double>(count);
}

void expect_reference(const ModelConfig& config, const ObjectiveOptions& o) {
  const at::NoGradGuard no_grad;
  const Batch batch(4, config);
  const ObjectiveResult result = batch(o);
  double weighted = 0;
  for (int64_t b = 0; b < 4; ++b) {
    const double expected = reference_loss(batch, o, b, result);
    EXPECT_NEAR(result.image_loss[b].item<double>(), expected, 1e-4 * expected) << "image " << b;
    const auto level = result.levels[b].item<int64_t>();
    const bool weight = o.level_weight && config.order != Order::kMar;
    weighted += expected * (weight ? 1 + std::sin(std::numbers::pi / 2 * static_cast<double>(level + 1) / 4) : 1) / 4;
  }
  EXPECT_NEAR(result.loss.item<double>(), weighted, 1e-4 * weighted);
}

TEST(Objective, IsTheSumOverTokensAndDraws) {
  expect_reference(tiny_config(), plain());
  expect_reference(tiny_text_config(), plain(published_objective()));
}

TEST(Objective, NoiseOnTheInputAlone) {
  ObjectiveOptions o = plain();
  o.input_noise = 0.5;
  expect_reference(tiny_config(), o);
  const at::NoGradGuard no_grad;
  const Batch batch(4, tiny_config());
  EXPECT_GT(relative_l2(batch(o).image_loss, batch(plain()).image_loss), 1e-3);
}

TEST(Objective, PatchesWithoutMasks) {
  ModelConfig config = tiny_config();
  config.patch = 2;
  ObjectiveOptions o = plain();
  o.mask = MaskDraw::kOff;
  o.vb_weight = 0.25;
  o.timestep_power = 2;
  o.diffusion_batch_mul = 3;
  expect_reference(config, o);
}
TEST(Objective, TerminalTimestepDrawnAndWeighted) {
  ObjectiveOptions o = plain();
  o.terminal_share = 0.3;
  o.terminal_weight = 50;
  expect_reference(tiny_config(), o);
  o.terminal_share = 1;  // nothing else is drawn, and the weight is all that differs
  o.vb_weight = 0;
  o.level_weight = false;
  const at::NoGradGuard no_grad;
  const Batch batch(4);
  const double weighted = batch(o).loss.item<double>();
  o.terminal_weight = 1;
  EXPECT_NEAR(weighted, 50 * batch(o).loss.item<double>(), 1e-4 * weighted);
}
TEST(Objective, NextLevelTarget) {
  ObjectiveOptions o = plain();
  o.target = Target::kNextLevel;
  expect_reference(tiny_config(), o);
}
TEST(Objective, LossOverMaskedTokensAlone) {
  ObjectiveOptions o = plain();
  o.loss_over = LossOver::kMasked;
  expect_reference(tiny_config(), o);
  o.mask_min_low = o.mask_min_high = 0.7;
  expect_reference(tiny_config(Order::kMar), o);
}

// The level after the highest is the image itself, so the ablation differs from the paper below it only.
TEST(Objective, NextLevelTargetIsTheImageAtTheTop) {
  const at::NoGradGuard no_grad;
  const Batch batch(32);
  ObjectiveOptions o = plain();
  const ObjectiveResult clean = batch(o);
  o.target = Target::kNextLevel;
  const ObjectiveResult next = batch(o);
  int64_t top = 0;
  for (int64_t b = 0; b < 32; ++b) {
    const double gap = (clean.image_loss[b] - next.image_loss[b]).abs().item<double>();
    const bool at_top = clean.levels[b].item<int64_t>() == 3;
    top += at_top;
    EXPECT_EQ(gap < 1e-5, at_top) << gap << " at level " << clean.levels[b].item<int64_t>();
  }
  EXPECT_GT(top, 0);
  EXPECT_LT(top, 32);
}

// An untrained model answers zero in any precision, so what is left of the loss is the filter, the schedule and the
// noise, and none of these is in bf16.
TEST(Objective, FilterAndScheduleAreInFp32) {
  const at::NoGradGuard no_grad;
  for (const Target target : {Target::kClean, Target::kNextLevel}) {
    const Batch batch(16, tiny_config(), FarModel::random(tiny_config(), 1));
    ObjectiveOptions o = plain();
    o.target = target;
    const Tensor exact = batch(o).image_loss;
    const Autocast autocast(at::kCPU, at::kBFloat16);
    EXPECT_LT(relative_l2(batch(o).image_loss, exact), 1e-6) << enum_name(target);
  }
}

TEST(Objective, WeightsFollowThePaper) {
  for (const auto& [level, weight] : {std::pair{0, 1.0980171}, {3, 1.3826834}, {7, 1.7071068}, {15, 2.0}})
    EXPECT_NEAR(level_weight(level, 16), weight, 1e-6);
  // Off, the loss is the plain mean.
  const at::NoGradGuard no_grad;
  const Batch batch(6);
  ObjectiveOptions o = plain();
  EXPECT_GT(batch(o).loss.item<double>(), 1.05 * batch(o).image_loss.mean().item<double>());
  o.level_weight = false;
  EXPECT_NEAR(batch(o).loss.item<double>(), batch(o).image_loss.mean().item<double>(), 1e-5);
}

// Micro batches and other neighbours must not change what an image is trained on.
TEST(Objective, DoesNotDependOnTheSplit) {
  const at::NoGradGuard no_grad;
  const Batch batch(6);
  ObjectiveOptions visible;  // images that hide tokens beside some that hide none
  visible.mask = MaskDraw::kCosine;
  visible.visible_level = 2;
  for (const ObjectiveOptions& preset : {paper_objective(), published_objective(), visible}) {
    ObjectiveOptions o = plain(preset);
    o.label_dropout = 0.5;
    o.input_noise = 0.5;
    const ObjectiveResult whole = batch(o), a = batch.part(o, 0, 1), b = batch.part(o, 1, 6);
    EXPECT_TRUE(at::equal(at::cat({a.levels, b.levels}), whole.levels));
    EXPECT_TRUE(at::equal(at::cat({a.missing, b.missing}), whole.missing));
    EXPECT_LT(relative_l2(at::cat({a.image_loss, b.image_loss}), whole.image_loss), 1e-5);
    EXPECT_NEAR((a.loss.item<double>() + 5 * b.loss.item<double>()) / 6, whole.loss.item<double>(), 1e-4);
  }
}

TEST(Objective, LabelDropoutTakesTheClassAway) {
  const at::NoGradGuard no_grad;
  Batch batch(64);
  const auto changed = [&](double rate) {  // by another class: (B) bool
    ObjectiveOptions o = plain();
    o.label_dropout = rate;
    batch.labels = at::zeros({64}, at::kLong);
    const Tensor before = batch(o).image_loss;
    batch.labels = at::full({64}, 2, at::kLong);
    return (batch(o).image_loss - before).abs().gt(1e-6);
  };
  EXPECT_FALSE(changed(1).any().item<bool>());
  EXPECT_TRUE(changed(0).all().item<bool>());
  const auto half = changed(0.5).sum().item<int64_t>();
  EXPECT_GT(half, 64 / 4);
  EXPECT_LT(half, 64 * 3 / 4);
}

TEST(Objective, DropoutIsDrawnForTheImages) {
  const at::NoGradGuard no_grad;
  const Batch batch(2);
  const auto loss = [&](double attention, double projection, uint64_t global_seed) {
    ObjectiveOptions o = plain();
    o.attention_dropout = attention;
    o.projection_dropout = projection;
    at::manual_seed(global_seed);
    return batch(o).loss.item<double>();
  };
  const double without = loss(0, 0, 1);
  for (const auto& [attention, projection] : {std::pair{0.3, 0.0}, {0.0, 0.3}, {0.3, 0.3}}) {
    const double with = loss(attention, projection, 1);
    EXPECT_NE(with, without);
    EXPECT_EQ(with, loss(attention, projection, 2));  // LibTorch's own generator has no say
  }
}

//----------------------------------------------------------------------------
// What is drawn.

// r_i of the paper falls from 0.7 to 0, that of the released code rises from 0 to 0.7 15/16.
TEST(Objective, MaskRatioRunsBothWays) {
  const ObjectiveOptions paper = paper_objective(), published = published_objective();
  EXPECT_DOUBLE_EQ(mask_ratio_min(paper, 0, 16), 0.7);
  EXPECT_NEAR(mask_ratio_min(paper, 5, 16), 0.7 * 10 / 15, 1e-12);
  EXPECT_NEAR(mask_ratio_min(paper, 15, 16), 0, 1e-12);
  for (const int64_t i : {0, 1, 8, 15})
    EXPECT_NEAR(mask_ratio_min(published, i, 16), 0.7 * static_cast<double>(i) / 16, 1e-12);
  EXPECT_DOUBLE_EQ(mask_ratio_min(paper, 0, 1), 0.7);  // a single level: no line to follow
}

TEST(Objective, PresetsDifferAsDocumented) {
  const ObjectiveOptions paper = paper_objective(), published = published_objective();
  EXPECT_EQ(paper.level_draw, LevelDraw::kImage);
  EXPECT_EQ(published.level_draw, LevelDraw::kBatch);
  EXPECT_EQ(paper.mask, MaskDraw::kUniform);
  EXPECT_EQ(published.mask, MaskDraw::kTruncatedNormal);
  EXPECT_TRUE(paper.level_weight);
  EXPECT_FALSE(published.level_weight);
  for (const ObjectiveOptions& o : {paper, published}) {
    EXPECT_EQ(o.target, Target::kClean);
    EXPECT_EQ(o.loss_over, LossOver::kAll);
    EXPECT_EQ(o.diffusion_batch_mul, 4);
    EXPECT_EQ(o.label_dropout, 0.1);
    EXPECT_EQ(o.attention_dropout, 0.1);
    EXPECT_EQ(o.projection_dropout, 0.1);
  }
}

// Levels and shares of hidden tokens of 4000 images: 8 levels, 16 tokens.
struct Shares {
  static ModelConfig config() {
    ModelConfig c = tiny_config();
    c.latent_channels = 1;
    c.latent_height = c.latent_width = c.levels = 8;
    c.patch = 2;
    c.encoder_blocks = c.decoder_blocks = 0;
    return c;
  }
  explicit Shares(ObjectiveOptions o) {
    const at::NoGradGuard no_grad;
    o = plain(o);
    o.diffusion_batch_mul = 1;
    const ObjectiveResult r = Batch(kImages, config())(o);
    levels = r.levels;
    missing = r.missing;
  }
  Tensor at_level(int64_t i) const {  // (n) shares of hidden tokens
    return missing.to(at::kDouble).mean({1}).index({levels == i});
  }
  int64_t count(int64_t i) const { return (levels == i).sum().item<int64_t>(); }

  static constexpr int64_t kImages = 4000;
  Tensor levels, missing;
};

constexpr double kCeil = 1.0 / 16;  // the number of hidden tokens is rounded up

TEST(Objective, LevelsAreEquallyLikely) {
  const Shares s({});
  for (int64_t i = 0; i < 8; ++i) EXPECT_NEAR(static_cast<double>(s.count(i)), 500, 4 * 21) << i;
  // F u^2 < 1 for u < 8^(-1/2).
  ObjectiveOptions low;
  low.level_power = 2;
  EXPECT_NEAR(static_cast<double>(Shares(low).count(0)), 4000 / std::sqrt(8), 4 * 30);
}

TEST(Objective, UniformMaskRatio) {
  const Shares s({});
  for (int64_t i = 0; i < 8; ++i) {
    const Tensor share = s.at_level(i);
    const double low = 0.7 * static_cast<double>(7 - i) / 7;
    EXPECT_GE(share.min().item<double>(), low) << i;
    EXPECT_LE(share.min().item<double>(), low + 0.02 + kCeil) << i;
    EXPECT_GE(share.max().item<double>(), 0.98) << i;
    EXPECT_NEAR(share.mean().item<double>(), (low + 1) / 2 + kCeil / 2, 0.06 * (1 - low)) << i;
  }
  // Every position is hidden as often as any other.
  const Tensor per_token = s.missing.to(at::kDouble).mean({0});
  EXPECT_LT((per_token - per_token.mean()).abs().max().item<double>(), 0.035);
}

// The mean of a normal with mean 1 and std 0.25, cut to [r_i, 1].
TEST(Objective, TruncatedNormalMaskRatio) {
  ObjectiveOptions o = published_objective();
  o.level_draw = LevelDraw::kImage;
  const Shares s(o);
  for (int64_t i = 0; i < 8; ++i) {
    const double low = 0.65625 * static_cast<double>(i) / 7, a = (1 - low) / 0.25;
    const double density = (1 - std::exp(-a * a / 2)) / std::sqrt(2 * std::numbers::pi);
    const double mass = 0.5 * std::erf(a / std::numbers::sqrt2);
    EXPECT_GE(s.at_level(i).min().item<double>(), low) << i;
    EXPECT_NEAR(s.at_level(i).mean().item<double>(), 1 - 0.25 * density / mass + kCeil / 2, 0.025) << i;
  }
}

// At every level as many tokens are hidden as the sampler of such a model hides there, in however many steps.
TEST(Objective, CosineMasksAreTheSamplers) {
  for (const int64_t visible_level : {0, 5}) {
    ObjectiveOptions o;
    o.mask = MaskDraw::kCosine;
    o.visible_level = visible_level;
    ModelConfig model = Shares::config();
    model.visible_level = trained_visible_level(o, model.levels);
    EXPECT_EQ(model.visible_level, visible_level ? visible_level : 8);
    const Shares s(o);
    for (const int64_t steps : {1, 2, 3, 5, 8}) {
      for (const Step& step : make_plan(resolve_sampler({{"steps", steps}}, model), model).steps) {
        const Tensor share = s.at_level(static_cast<int64_t>(step.head.level));
        EXPECT_EQ(share.min().item<double>(), static_cast<double>(step.masked) / 16) << step.head.level;
        EXPECT_EQ(share.max().item<double>(), static_cast<double>(step.masked) / 16) << step.head.level;
      }
    }
  }
  EXPECT_EQ(trained_visible_level({}, 8), 0);
}

// The case that was seen: 256 tokens, the paper's ten of sixteen levels.
TEST(Objective, TheSamplerHidesNothingThatTrainingDoesNot) {
  ModelConfig model;
  model.visible_level = 16;
  for (const Step& step : make_plan(resolve_sampler(Json::object(), model), model).steps)
    EXPECT_EQ(step.masked, hidden_at_level(256, static_cast<int64_t>(step.head.level), 16)) << step.head.level;
}

TEST(Objective, MaskOffHidesNothing) {
  ObjectiveOptions o;
  o.mask = MaskDraw::kOff;
  EXPECT_FALSE(Shares(o).missing.defined());
}

TEST(Objective, OneLevelPerBatch) {
  const at::NoGradGuard no_grad;
  const Batch batch(8);
  const ObjectiveOptions o = plain(published_objective());
  std::set<int64_t> seen;
  for (uint64_t batch_seed = 0; batch_seed < 40; ++batch_seed) {
    const ObjectiveResult r = batch(o, batch_seed);
    EXPECT_EQ(r.levels.min().item<int64_t>(), r.levels.max().item<int64_t>());
    seen.insert(r.levels[0].item<int64_t>());
    const Tensor hidden = r.missing.sum({1});  // as many everywhere, elsewhere in each image
    EXPECT_EQ(hidden.min().item<int64_t>(), hidden.max().item<int64_t>());
    if (hidden[0].item<int64_t>() < 14) {
      EXPECT_FALSE(at::equal(r.missing[0], r.missing[1]));
    }
  }
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_FALSE(at::equal(batch(plain()).levels, at::zeros({8}, at::kLong) + batch(plain()).levels[0]));
}

//----------------------------------------------------------------------------
// Gradients.

// Gradients of every parameter, by name.
TensorMap gradients(const Batch& batch, const ObjectiveOptions& o) {
  batch.model->params().set_requires_grad(true);
  batch(o).loss.backward();
  TensorMap out;
  for (const auto& [name, p] : batch.model->params().items()) {
    if (p.grad().defined()) out[name] = p.grad().clone();
    Tensor(p).mutable_grad() = Tensor();
  }
  batch.model->params().set_requires_grad(false);
  return out;
}

TEST(Objective, GradientReachesEveryParameter) {
  for (const ModelConfig& config : {tiny_config(), tiny_text_config(), tiny_config(Order::kMar),
                                    tiny_config(Order::kRaster), tiny_config(Order::kNextScale)}) {
    const Batch batch(12, config);
    ObjectiveOptions o = plain();
    o.mask_min_low = 0.3;
    o.label_dropout = 0.5;
    const TensorMap g = gradients(batch, o);
    for (const auto& [name, p] : batch.model->params().items()) {
      ASSERT_TRUE(g.contains(name)) << name;
      // What is added to every key alike falls out of the softmax.
      if (name.ends_with("to_k.bias")) continue;
      EXPECT_GT(g.at(name).abs().max().item<double>(), 1e-7) << name;
    }
  }
}

// Central differences of the loss. The bound holds its mean fixed, so it is checked where the variance alone moves.
TEST(Objective, GradientMatchesDifferences) {
  const Batch batch(4);
  ObjectiveOptions o = plain();
  o.mask_min_low = 0.3;
  const auto difference = [&](const std::string& name, int64_t index) {
    const at::NoGradGuard no_grad;
    float& value = batch.model->params().map().at(name).data_ptr<float>()[index];
    constexpr float kStep = 5e-3f;
    const float before = value;
    value = before + kStep;
    const double up = batch(o).loss.item<double>();
    value = before - kStep;
    const double down = batch(o).loss.item<double>();
    value = before;
    return (up - down) / (2.0 * kStep);
  };
  const auto expect_match = [&](const TensorMap& g, const std::string& name, int64_t index) {
    const double slope = g.at(name).view(-1)[index].item<double>();
    EXPECT_NEAR(difference(name, index), slope, 0.02 * std::abs(slope) + 5e-4) << name << " " << index;
  };
  o.vb_weight = 0;
  const TensorMap mse = gradients(batch, o);
  for (const char* name :
       {"class_emb.weight", "mask_token", "encoder_pos_embed_learned", "z_proj.weight",
        "encoder_blocks.0.attn.qkv.weight", "decoder_embed.weight", "decoder_blocks.0.mlp.fc1.bias",
        "diffusion_pos_embed_learned", "diffloss.net.time_embed.mlp.0.weight", "diffloss.net.cond_embed.weight",
        "diffloss.net.index_cond_embed.weight", "diffloss.net.res_blocks.0.adaLN_modulation.1.weight",
        "diffloss.net.final_layer.linear.weight"}) {
    const int64_t largest = mse.at(name).abs().argmax().item<int64_t>();
    EXPECT_GT(mse.at(name).view(-1)[largest].abs().item<double>(), 2e-3) << name << ": too small to be tested";
    expect_match(mse, name, largest);
  }
  o.vb_weight = 50;
  const TensorMap both = gradients(batch, o);
  for (const int64_t channel : {2, 3}) {  // of 2C: eps, then variance fraction
    expect_match(both, "diffloss.net.final_layer.linear.bias", channel);
    EXPECT_GT(both.at("diffloss.net.final_layer.linear.bias")[channel].abs().item<double>(), 2e-3);
  }
}

//----------------------------------------------------------------------------
// Wrong usage.

TEST(Objective, OptionsThatCannotBe) {
  const auto refused = [](auto change) {
    ObjectiveOptions o;
    change(o);
    return test::usage_error_of([&] { o.validate(); });
  };
  EXPECT_CONTAINS(refused([](auto& o) { o.mask_min_low = 1.5; }), "mask_min_low must be in 0..1, got 1.5");
  EXPECT_CONTAINS(refused([](auto& o) { o.mask_min_high = -0.1; }), "mask_min_high");
  EXPECT_CONTAINS(refused([](auto& o) { o.label_dropout = NAN; }), "label_dropout");
  EXPECT_CONTAINS(refused([](auto& o) { o.projection_dropout = 1; }), "dropout must be in [0, 1)");
  EXPECT_CONTAINS(refused([](auto& o) { o.visible_level = 3; }), "visible_level needs mask=cosine");
  EXPECT_CONTAINS(refused([](auto& o) { o.visible_level = -1; }), "visible_level must be at least 0, got -1");
  EXPECT_CONTAINS(refused([](auto& o) { o.posterior_std = 1.5; }), "posterior_std must be in 0..1, got 1.5");
  EXPECT_CONTAINS(refused([](auto& o) { o.input_noise = -0.1; }), "input_noise must be in 0..10, got -0.1");
  EXPECT_CONTAINS(refused([](auto& o) { o.self_correct = -0.1; }), "self_correct must be in 0..10, got -0.1");
  EXPECT_CONTAINS(refused([](auto& o) { o.diffusion_batch_mul = 0; }), "1..1024, got 0");
  EXPECT_CONTAINS(refused([](auto& o) { o.level_power = 0; }), "level_power");
  EXPECT_CONTAINS(refused([](auto& o) { o.vb_weight = -1; }), "vb_weight");
  EXPECT_CONTAINS(refused([](auto& o) {
                    o.loss_over = LossOver::kMasked;
                    o.mask = MaskDraw::kOff;
                  }),
                  "needs a mask");
  EXPECT_NO_THROW(paper_objective().validate());
  EXPECT_NO_THROW(published_objective().validate());
}

}  // namespace
}  // namespace crescendo
