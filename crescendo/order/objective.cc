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
#include "crescendo/diffusion/head_loss.h"
#include "crescendo/diffusion/schedule.h"
#include "crescendo/order/far.h"
#include "crescendo/order/mar.h"
#include "crescendo/order/masks.h"
#include "crescendo/order/next_scale.h"
#include "crescendo/order/raster.h"

namespace crescendo {

namespace {

constexpr int64_t kTerminalTimestep = kTrainingTimesteps - 1;

int64_t draw_level(const ObjectiveOptions& o, uint64_t seed, int64_t levels) {
  const double u = Rng(seed, Draw::kLevel).uniform();
  return std::min(levels - 1, static_cast<int64_t>(static_cast<double>(levels) * std::pow(u, o.level_power)));
}

int64_t draw_timestep(const ObjectiveOptions& o, Rng& rng) {
  if (o.terminal_share > 0 && rng.uniform() < o.terminal_share) return kTerminalTimestep;
  const double u = o.timestep_power == 1.0 ? rng.uniform() : std::pow(rng.uniform(), 1.0 / o.timestep_power);
  return std::min(kTerminalTimestep, static_cast<int64_t>(static_cast<double>(kTrainingTimesteps) * u));
}

// The stream of image b for what may be drawn once per batch.
uint64_t shared_seed(const ObjectiveOptions& o, const ObjectiveBatch& batch, int64_t b) {
  return o.level_draw == LevelDraw::kBatch ? batch.batch_seed : batch.image_seeds[static_cast<size_t>(b)];
}

// work(b, seed) for each image, in threads. Work with raw pointers: indexing a tensor costs more than a draw.
template <class Work>
void for_each_image(const ObjectiveBatch& batch, const Work& work) {
  at::parallel_for(0, static_cast<int64_t>(batch.image_seeds.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) work(b, batch.image_seeds[static_cast<size_t>(b)]);
  });
}

// On a CPU a generator of its own, so that parts of a batch can be computed at the same time. (Not a clone of the
// default one: LibTorch 1.13 leaks those.) Elsewhere parts come one after the other.
at::Generator dropout_generator(at::Device device, uint64_t image_seed) {
  const uint64_t seed = derive_seed(image_seed, static_cast<uint64_t>(Draw::kDropout));
  if (device.is_cpu()) return at::make_generator<at::CPUGeneratorImpl>(seed);
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace

ObjectiveResult objective(const FarModel& model, const ObjectiveOptions& options, const Lowpass& lowpass,
                          const ObjectiveBatch& batch) {
  switch (model.config().order) {
    case Order::kFar:
      return far_loss(model, options, lowpass, batch);
    case Order::kMar:
      return mar_loss(model, options, batch);
    case Order::kRaster:
      return raster_loss(model, options, batch);
    case Order::kNextScale:
      return next_scale_loss(model, options, batch);
  }
  fail("objective: no order number ", static_cast<int>(model.config().order));
}

double level_weight(int64_t level, int64_t levels) {
  return 1 + std::sin(std::numbers::pi / 2 * static_cast<double>(level + 1) / static_cast<double>(levels));
}

Tensor draw_levels(const ObjectiveOptions& o, int64_t levels, const ObjectiveBatch& batch) {
  const Tensor drawn = at::empty({batch.latents.size(0)}, at::kLong);
  auto* level = drawn.data_ptr<int64_t>();
  for_each_image(batch, [&](int64_t b, uint64_t) { level[b] = draw_level(o, shared_seed(o, batch, b), levels); });
  return drawn;
}

Tensor draw_missing(const ObjectiveOptions& o, const ModelConfig& m, const Tensor& levels,
                    const ObjectiveBatch& batch) {
  if (o.mask == MaskDraw::kOff) return {};
  const int64_t tokens = m.tokens();
  const Tensor drawn = at::zeros({levels.size(0), tokens}, at::kBool);
  bool* missing = drawn.data_ptr<bool>();
  const auto* level = levels.data_ptr<int64_t>();
  for_each_image(batch, [&](int64_t b, uint64_t seed) {
    Rng mask_rng(shared_seed(o, batch, b), Draw::kMask);
    const int64_t hidden = draw_hidden(o, tokens, level[b], m.levels, mask_rng);
    std::vector<int64_t> order(static_cast<size_t>(tokens));
    std::iota(order.begin(), order.end(), int64_t{0});
    Rng(seed, Draw::kOrder).shuffle(std::span(order));
    for (int64_t i = 0; i < hidden; ++i) missing[b * tokens + order[static_cast<size_t>(i)]] = true;
  });
  return drawn;
}

Tensor image_noise(const Tensor& x, double most, uint32_t stream, const ObjectiveBatch& batch) {
  const Tensor noise = at::empty(x.sizes(), at::kFloat);
  const auto elements = static_cast<size_t>(x[0].numel());
  auto* out = noise.data_ptr<float>();
  for_each_image(batch, [&](int64_t b, uint64_t seed) {
    Rng rng(seed, Draw::kInputNoise, stream);
    const auto sigma = static_cast<float>(rng.uniform(0, most));
    const std::span<float> image(out + static_cast<size_t>(b) * elements, elements);
    rng.fill_normal(image);
    for (float& value : image) value *= sigma;
  });
  return noise.to(x.device());
}

Tensor noised_latents(const ObjectiveOptions& o, const ObjectiveBatch& batch) {
  if (o.input_noise <= 0) return batch.latents;
  return batch.latents + image_noise(batch.latents, o.input_noise, 0, batch);
}

Tensor conditions_of(const FarModel& model, const ObjectiveOptions& o, const Tensor& tokens, const Tensor& missing,
                     const ObjectiveBatch& batch) {
  const int64_t images = tokens.size(0);
  const auto device = tokens.device();
  const Tensor dropped = at::empty({images, 1, 1}, at::kBool);
  bool* drop = dropped.data_ptr<bool>();
  for_each_image(batch,
                 [&](int64_t b, uint64_t seed) { drop[b] = Rng(seed, Draw::kLabelDrop).uniform() < o.label_dropout; });
  const Tensor condition =
      at::where(dropped.to(device), model.conditions().null_condition(images), batch.condition);  // (B, *, D)
  BackboneDropout dropout{o.attention_dropout, o.projection_dropout};
  if (dropout.attention > 0 || dropout.projection > 0)
    dropout.generator = dropout_generator(device, batch.image_seeds.front());
  if (model.config().is_sequence()) return model.sequence().forward(tokens, condition, dropout);  // (B, L, D)
  const TokenMask mask = missing.defined() ? TokenMask::of(missing.to(device)) : TokenMask::none();
  return model.backbone().forward(tokens, condition, mask, dropout);  // (B, L, D)
}

Tensor token_loss(const FarModel& model, const ObjectiveOptions& o, const Tensor& z, const Tensor& levels,
                  const Tensor& target, const ObjectiveBatch& batch) {
  const int64_t images = target.size(0), tokens = target.size(1), draws = o.diffusion_batch_mul;
  const Tensor timestep = at::empty({images, draws, tokens}, at::kLong);                // (B, K, L)
  const Tensor noise = at::empty({images, draws, tokens, target.size(2)}, at::kFloat);  // (B, K, L, C)
  auto* t = timestep.data_ptr<int64_t>();
  auto* out = noise.data_ptr<float>();
  const auto elements = static_cast<size_t>(draws * tokens * target.size(2));
  for_each_image(batch, [&](int64_t b, uint64_t seed) {
    Rng rng(seed, Draw::kTimestep);
    for (int64_t i = 0; i < draws * tokens; ++i) t[b * draws * tokens + i] = draw_timestep(o, rng);
    Rng(seed, Draw::kDiffusion).fill_normal({out + static_cast<size_t>(b) * elements, elements});
  });
  return head_loss(model.head(), z, levels, target, timestep, noise, {o.vb_weight, o.terminal_weight});  // (B, L)
}

Tensor loss_of(const FarModel& model, const ObjectiveOptions& o, const Tensor& z, const Tensor& levels,
               const Tensor& target, const Tensor& missing, const ObjectiveBatch& batch) {
  const Tensor loss = token_loss(model, o, z, levels, target, batch);  // (B, L)
  if (o.loss_over == LossOver::kAll) return loss.mean({1});
  const Tensor counted = missing.to(loss.device()).to(loss.dtype());
  return (loss * counted).sum({1}) / counted.sum({1}).clamp_min(1);
}

}  // namespace crescendo
