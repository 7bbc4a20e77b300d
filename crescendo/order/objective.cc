#include "crescendo/order/objective.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/diffusion/gaussian.h"
#include "crescendo/order/plan.h"

namespace crescendo {

namespace {

constexpr int64_t kTerminalTimestep = kTrainingTimesteps - 1;

int64_t draw_level(const ObjectiveOptions& o, uint64_t seed, int64_t levels) {
  const double u = Rng(seed, Draw::kLevel).uniform();
  return std::min(levels - 1, static_cast<int64_t>(static_cast<double>(levels) * std::pow(u, o.level_power)));
}

// A ratio in [low, 1].
double draw_mask_ratio(const ObjectiveOptions& o, int64_t level, int64_t levels, Rng& rng) {
  const double low = mask_ratio_min(o, level, levels);
  if (o.mask == MaskDraw::kUniform) return rng.uniform(low, 1.0);
  constexpr double kStd = 0.25;
  for (;;) {  // truncated above at its mean, 1; at low = 0 it is kept in 1 of 1.00006 draws
    const double ratio = 1.0 - kStd * std::abs(rng.normal());
    if (ratio >= low) return ratio;
  }
}

// How many tokens of an image are hidden.
int64_t draw_hidden(const ObjectiveOptions& o, int64_t tokens, int64_t level, int64_t levels, Rng& rng) {
  if (o.mask == MaskDraw::kCosine) return hidden_at_level(tokens, level, trained_visible_level(o, levels));
  const double ratio = draw_mask_ratio(o, level, levels, rng);
  return std::min(tokens, static_cast<int64_t>(std::ceil(static_cast<double>(tokens) * ratio)));
}

int64_t draw_timestep(const ObjectiveOptions& o, Rng& rng) {
  if (o.terminal_share > 0 && rng.uniform() < o.terminal_share) return kTerminalTimestep;
  const double u = o.timestep_power == 1.0 ? rng.uniform() : std::pow(rng.uniform(), 1.0 / o.timestep_power);
  return std::min(kTerminalTimestep, static_cast<int64_t>(static_cast<double>(kTrainingTimesteps) * u));
}

// What is random about a batch.
struct Draws {
  Tensor levels;   // (B) int64
  Tensor missing;  // (B, L) bool; undefined without masks
  Tensor t;        // (B, K, L) int64, K draws per token
  Tensor noise;    // (B, K, L, C)
  Tensor drop;     // (B) bool: trained without condition
};

Draws draw(const ObjectiveOptions& o, const ModelConfig& m, const std::vector<uint64_t>& seeds, uint64_t batch_seed) {
  const auto batch = static_cast<int64_t>(seeds.size());
  const int64_t tokens = m.tokens(), channels = m.token_channels(), draws = o.diffusion_batch_mul;
  const bool leveled = m.kind != ModelKind::kMarClass;
  Draws d;
  d.levels = at::empty({batch}, at::kLong);
  d.drop = at::empty({batch}, at::kBool);
  d.t = at::empty({batch, draws, tokens}, at::kLong);
  d.noise = at::empty({batch, draws, tokens, channels}, at::kFloat);
  if (o.mask != MaskDraw::kOff) d.missing = at::zeros({batch, tokens}, at::kBool);
  // Raw pointers: tensor indexing inside the parallel loop would cost more than the drawing.
  int64_t* levels = d.levels.data_ptr<int64_t>();
  bool* drop = d.drop.data_ptr<bool>();
  int64_t* t = d.t.data_ptr<int64_t>();
  float* noise = d.noise.data_ptr<float>();
  bool* missing = d.missing.defined() ? d.missing.data_ptr<bool>() : nullptr;
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> order(static_cast<size_t>(tokens));
    for (int64_t b = begin; b < end; ++b) {
      const uint64_t seed = seeds[static_cast<size_t>(b)];
      const uint64_t shared = o.level_draw == LevelDraw::kBatch ? batch_seed : seed;
      levels[b] = leveled ? draw_level(o, shared, m.levels) : m.levels;
      drop[b] = Rng(seed, Draw::kLabelDrop).uniform() < o.label_dropout;
      Rng timestep(seed, Draw::kTimestep);
      for (int64_t i = 0; i < draws * tokens; ++i) t[b * draws * tokens + i] = draw_timestep(o, timestep);
      const auto numbers = static_cast<size_t>(draws * tokens * channels);
      Rng(seed, Draw::kDiffusion).fill_normal({noise + static_cast<size_t>(b) * numbers, numbers});
      if (!missing) continue;
      Rng ratio_rng(shared, Draw::kMask);
      const int64_t hidden = draw_hidden(o, tokens, leveled ? levels[b] : 0, m.levels, ratio_rng);
      std::iota(order.begin(), order.end(), int64_t{0});
      Rng(seed, Draw::kOrder).shuffle(std::span(order));
      for (int64_t i = 0; i < hidden; ++i) missing[b * tokens + order[static_cast<size_t>(i)]] = true;
    }
  });
  return d;
}

// latents (B, *) with noise of a standard deviation drawn per image from [0, most].
Tensor noised(const Tensor& latents, double most, const std::vector<uint64_t>& seeds) {
  const Tensor noise = at::empty(latents.sizes(), at::kFloat);
  const auto numbers = static_cast<size_t>(latents[0].numel());
  float* out = noise.data_ptr<float>();
  at::parallel_for(0, latents.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Rng rng(seeds[static_cast<size_t>(b)], Draw::kInputNoise);
      const auto sigma = static_cast<float>(rng.uniform(0, most));
      const std::span<float> image(out + static_cast<size_t>(b) * numbers, numbers);
      rng.fill_normal(image);
      for (float& value : image) value *= sigma;
    }
  });
  return latents + noise.to(latents.device());
}

// On a CPU one of its own, so that parts of a batch may be computed at the same time. (Not a clone of the default one:
// LibTorch 1.13 leaks those.) Elsewhere parts come one after the other.
at::Generator dropout_generator(at::Device device, uint64_t image_seed) {
  const uint64_t seed = derive_seed(image_seed, static_cast<uint64_t>(Draw::kDropout));
  if (device.is_cpu()) return at::make_generator<at::CPUGeneratorImpl>(seed);
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace

void ObjectiveOptions::validate() const {
  const auto share = [](const char* name, double v) {
    check_usage(v >= 0 && v <= 1, "objective: ", name, " must be in 0..1, got ", v);
  };
  share("mask_min_low", mask_min_low);
  share("mask_min_high", mask_min_high);
  share("label_dropout", label_dropout);
  share("terminal_share", terminal_share);
  share("posterior_std", posterior_std);
  check_usage(attention_dropout >= 0 && attention_dropout < 1 && projection_dropout >= 0 && projection_dropout < 1,
              "objective: dropout must be in [0, 1), got ", attention_dropout, " and ", projection_dropout);
  check_usage(diffusion_batch_mul >= 1 && diffusion_batch_mul <= 1024,
              "objective: diffusion_batch_mul must be in 1..1024, got ", diffusion_batch_mul);
  check_usage(input_noise >= 0 && input_noise <= 10, "objective: input_noise must be in 0..10, got ", input_noise);
  check_usage(level_power > 0 && timestep_power > 0, "objective: level_power and timestep_power must be above 0, got ",
              level_power, " and ", timestep_power);
  check_usage(vb_weight >= 0 && terminal_weight >= 0,
              "objective: vb_weight and terminal_weight must be at least 0, got ", vb_weight, " and ", terminal_weight);
  check_usage(visible_level >= 0, "objective: visible_level must be at least 0, got ", visible_level);
  check_usage(visible_level == 0 || mask == MaskDraw::kCosine, "objective: visible_level needs mask=cosine");
  check_usage(loss_over == LossOver::kAll || mask != MaskDraw::kOff, "objective: loss_over=masked needs a mask");
}

ObjectiveOptions paper_objective() { return {}; }

ObjectiveOptions published_objective() {
  ObjectiveOptions o;
  o.level_draw = LevelDraw::kBatch;
  o.mask = MaskDraw::kTruncatedNormal;
  o.mask_min_low = 0.0;
  o.mask_min_high = 0.7 * 15 / 16;
  o.level_weight = false;
  return o;
}

int64_t trained_visible_level(const ObjectiveOptions& o, int64_t levels) {
  if (o.mask != MaskDraw::kCosine) return 0;
  return o.visible_level > 0 ? o.visible_level : levels;
}

namespace {

// What the text model's code leaves at other values than the class models'.
ObjectiveOptions as_text(ObjectiveOptions o) {
  o.diffusion_batch_mul = 1;
  o.attention_dropout = 0.0;
  o.projection_dropout = 0.0;
  return o;
}

}  // namespace

ObjectiveOptions paper_text_objective() { return as_text(paper_objective()); }

ObjectiveOptions published_text_objective() {
  ObjectiveOptions o = as_text(published_objective());
  o.level_draw = LevelDraw::kImage;
  o.mask_min_low = 0.7;
  o.mask_min_high = 0.7;
  return o;
}

double level_weight(int64_t level, int64_t levels) {
  return 1 + std::sin(std::numbers::pi / 2 * static_cast<double>(level + 1) / static_cast<double>(levels));
}

double mask_ratio_min(const ObjectiveOptions& o, int64_t level, int64_t levels) {
  const double share = levels == 1 ? 0.0 : static_cast<double>(level) / static_cast<double>(levels - 1);
  return o.mask_min_low + share * (o.mask_min_high - o.mask_min_low);
}

ObjectiveResult objective(const FarModel& model, const ObjectiveOptions& o, const Lowpass& lowpass,
                          const Tensor& latents, const Tensor& condition, const std::vector<uint64_t>& image_seeds,
                          uint64_t batch_seed) {
  const ModelConfig& m = model.config();
  const int64_t batch = latents.size(0), tokens = m.tokens(), channels = m.token_channels(),
                draws = o.diffusion_batch_mul;
  const auto device = latents.device();
  const Draws d = draw(o, m, image_seeds, batch_seed);

  // At level F (MAR) the filter is the identity: the input is the image itself, minus what is masked.
  const Tensor seen = o.input_noise > 0 ? noised(latents, o.input_noise, image_seeds) : latents;
  const Tensor input = patchify(lowpass(seen, d.levels), m.patch);  // (B, L, C)
  const Tensor clean = o.target == Target::kClean ? latents : lowpass(latents, (d.levels + 1).clamp_max(m.levels));
  const Tensor target = patchify(clean, m.patch);  // (B, L, C)

  const Tensor drop = d.drop.to(device).view({batch, 1, 1});
  const Tensor rows = at::where(drop, model.backbone().null_condition(batch), condition);  // (B, *, D)
  const TokenMask mask = d.missing.defined() ? TokenMask::of(d.missing.to(device)) : TokenMask::none();
  BackboneDropout dropout{o.attention_dropout, o.projection_dropout};
  if (dropout.attention > 0 || dropout.projection > 0)
    dropout.generator = dropout_generator(device, image_seeds.front());
  const Tensor z = model.backbone().forward(input, rows, mask, dropout);  // (B, L, D)

  // The K draws of a token share its condition: (B, K, L, *) flattened to M = B K L rows.
  const Tensor level = d.levels.to(device).to(at::kFloat).view({batch, 1, 1}).expand({batch, tokens, 1});
  const Tensor y = model.head().condition(z, level);  // (B, L, W)
  const int64_t width = y.size(2);
  const auto repeat = [&](const Tensor& x) {
    return x.unsqueeze(1).expand({batch, draws, tokens, x.size(2)}).reshape({-1, x.size(2)});
  };
  const Tensor x0 = repeat(target), t = d.t.view({-1}), noise = d.noise.to(device).view({-1, channels});
  const Tensor x_t = q_sample(x0, t, noise);
  const Tensor times = model.head().time_embedding(t.to(device)).view({-1, width});
  const Tensor output = model.head().forward(x_t, repeat(y) + times).to(at::kFloat);  // (M, 2C)
  const DiffusionLoss parts = diffusion_loss(output, x0, x_t, t, noise);
  Tensor mse = parts.mse;
  if (o.terminal_weight != 1.0) {
    const Tensor terminal = (t == kTerminalTimestep).to(device);
    mse = at::where(terminal, mse * o.terminal_weight, mse);
  }
  const Tensor token_loss = (mse + o.vb_weight * parts.vb).view({batch, draws, tokens}).mean({1});  // (B, L)

  Tensor image_loss;  // (B)
  if (o.loss_over == LossOver::kMasked) {
    const Tensor counted = mask.missing.to(token_loss.dtype());
    image_loss = (token_loss * counted).sum({1}) / counted.sum({1}).clamp_min(1);
  } else {
    image_loss = token_loss.mean({1});
  }
  Tensor weighted = image_loss;
  if (o.level_weight && m.kind != ModelKind::kMarClass) {
    std::vector<float> weights;
    for (int64_t b = 0; b < batch; ++b)
      weights.push_back(static_cast<float>(level_weight(d.levels.data_ptr<int64_t>()[b], m.levels)));
    weighted = image_loss * at::tensor(weights).to(device);
  }
  return {weighted.mean(), image_loss.detach(), d.levels, d.missing};
}

}  // namespace crescendo
