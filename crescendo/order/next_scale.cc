#include "crescendo/order/next_scale.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// D_k and U_k of a model.
class Scales {
 public:
  Scales(const ModelConfig& m, at::Device device) : sides_(m.sides()), model_(m) {
    for (const int64_t side : sides_) {
      down_.push_back(down_matrix(m.latent_height, side).to(device, at::kFloat));
      up_.push_back(up_matrix(m.latent_height, side).to(device, at::kFloat));
    }
  }
  size_t size() const { return sides_.size(); }
  // D_k of a picture (B, C, H, W): (B, C, s_k, s_k).
  Tensor down(size_t k, const Tensor& picture) const { return resized(picture, down_[k]); }
  // h_k of h_{k-1} and r_k.
  Tensor with(size_t k, const Tensor& h, const Tensor& r) const {
    const Tensor up = resized(r, up_[k]);  // (B, C, H, W)
    return model_.residual ? h + up : up;
  }
  Tensor tokens_of(const Tensor& x) const { return patchify(x, model_.patch); }
  // r_k of tokens (B, L_k, C) that are in units of c_k.
  Tensor drawn(size_t k, const Tensor& tokens) const {
    return unpatchify(tokens * c(k), model_.patch, sides_[k], sides_[k]);  // (B, C, s_k, s_k)
  }
  double c(size_t k) const { return model_.scale_std.empty() ? 1.0 : model_.scale_std[k]; }

 private:
  std::vector<int64_t> sides_;
  const ModelConfig& model_;
  std::vector<Tensor> down_, up_;
};

}  // namespace

Plan next_scale_plan(const SamplerOptions& o, const ModelConfig& model) {
  const auto scales = static_cast<int64_t>(model.sides().size());
  check_usage(o.steps == scales, "the order next-scale takes a step a scale: steps must be ", scales, ", got ", o.steps,
              "; leave it out");
  Plan plan;
  plan.order = Order::kNextScale;
  plan.filter = o.filter;
  for (int64_t k = 0; k < scales; ++k) {
    Step step{head_step(o, k), {}, 0};
    step.head.level = static_cast<double>(k);
    plan.steps.push_back(step);
  }
  return plan;
}

ScaleTokens scale_tokens(const ModelConfig& m, const Tensor& x,
                         const std::function<Tensor(int64_t k, const Tensor& r)>& error) {
  const Scales scales(m, x.device());
  std::vector<Tensor> inputs{at::empty({x.size(0), 0, m.token_channels()}, x.options())}, targets;
  Tensor h = at::zeros_like(x);
  for (size_t k = 0; k < scales.size(); ++k) {
    if (k > 0) inputs.push_back(scales.tokens_of(scales.down(k, h)));
    const Tensor r = scales.down(k, m.residual ? x - h : x);  // (B, C, s_k, s_k)
    targets.push_back(scales.tokens_of(r) / scales.c(k));
    h = scales.with(k, h, error ? r + error(static_cast<int64_t>(k), r) : r);
  }
  return {at::cat(inputs, 1), at::cat(targets, 1)};
}

std::vector<double> measured_scale_std(const ModelConfig& model, const Tensor& latents) {
  ModelConfig m = model;
  m.scale_std.clear();
  const Tensor targets = scale_tokens(m, latents).targets;
  std::vector<double> out;
  for (const Tensor& r : targets.split_with_sizes(m.step_tokens(), 1))
    out.push_back(r.to(at::kDouble).std(/*unbiased=*/false).item<double>());
  return out;
}

ObjectiveResult next_scale_loss(const FarModel& model, const ObjectiveOptions& o, const ObjectiveBatch& batch) {
  const ModelConfig& m = model.config();
  std::function<Tensor(int64_t, const Tensor&)> error;
  if (o.self_correct > 0)
    error = [&](int64_t k, const Tensor& r) {  // noise of up to so many times the size of r, an image's own
      const Tensor size = r.square().mean({1, 2, 3}, /*keepdim=*/true).sqrt();  // (B, 1, 1, 1)
      return image_noise(r, o.self_correct, static_cast<uint32_t>(k), batch) * size;
    };
  const auto [inputs, targets] = scale_tokens(m, batch.latents, error);  // (B, L - L_1, C), (B, L, C)
  const Tensor z = conditions_of(model, o, inputs, {}, batch);           // (B, L, D)
  // The head is told k - 1. Every token counts alike, or every scale.
  const std::vector<int64_t> counts = m.step_tokens();
  std::vector<Tensor> level, weight;
  for (size_t k = 0; k < counts.size(); ++k) {
    const bool by_scale = o.loss_weight == LossWeight::kScale;
    level.push_back(at::full({counts[k]}, static_cast<int64_t>(k), at::kLong));
    weight.push_back(at::full({counts[k]},
                              by_scale ? 1.0 / static_cast<double>(counts[k] * static_cast<int64_t>(counts.size()))
                                       : 1.0 / static_cast<double>(targets.size(1)),
                              at::kFloat));
  }
  const Tensor levels = at::cat(level).expand({targets.size(0), -1});                                   // (B, L)
  const Tensor loss = token_loss(model, o, z, levels, targets, batch);                                  // (B, L)
  const Tensor image_loss = (loss * at::cat(weight).to(loss.options().requires_grad(false))).sum({1});  // (B)
  return {image_loss.mean(), image_loss.detach(), at::full({targets.size(0)}, m.levels, at::kLong), {}};
}

Tensor next_scale_sample(Generation& g) {
  const ModelConfig& m = g.model();
  Tensor h = unpatchify(g.start(), m);  // h_0 (B, C, H, W): nothing is known
  const Scales scales(m, h.device());
  for (int64_t step = 0; step < g.plan().size(); ++step) {
    const auto k = static_cast<size_t>(step);
    g.on_input(step, scales.tokens_of(h));
    const Tensor z = g.step(step, k > 0 ? scales.tokens_of(scales.down(k, h)) : Tensor());  // (B or 2B, L_k, D)
    h = scales.with(k, h, scales.drawn(k, g.head(step, z)));
    g.on_prediction(step, scales.tokens_of(h));
    g.on_filtered(step, scales.tokens_of(h));
  }
  return scales.tokens_of(h);
}

}  // namespace crescendo
