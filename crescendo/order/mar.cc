#include "crescendo/order/mar.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/order/masks.h"

namespace crescendo {

Plan mar_plan(const SamplerOptions& o, const ModelConfig& model) {
  const int64_t L = model.tokens();
  check_usage(o.levels.empty(), "MAR has no frequency levels; give steps");
  check_usage(o.steps <= L, "MAR predicts at least one token a step: steps must be in 1..", L, ", got ", o.steps);
  check_usage(o.visible_level == 0, "MAR has no frequency levels; visible_level does not apply");
  check_usage(o.mask, "MAR is masked by nature; it cannot be sampled without masks");
  check_usage(o.cfg_schedule != CfgSchedule::kPublished, "MAR's cfg_schedule is linear or constant, got published");
  check_usage(o.temperature_schedule == TemperatureSchedule::kConstant, "MAR's temperature_schedule is constant, got ",
              enum_name(o.temperature_schedule));
  Plan plan;
  plan.order = Order::kMar;
  plan.random_order = true;
  plan.filter = o.filter;
  int64_t masked = L;
  for (int64_t k = 0; k < o.steps; ++k) {
    // As published: at the last step, which takes all, guidance still counts one token as hidden.
    const int64_t left = std::max<int64_t>(1, std::min(masked - 1, cosine_masked(L, k + 1, o.steps)));
    const double share = static_cast<double>(L - left) / static_cast<double>(L);
    Step step;
    step.masked = masked;
    step.head = head_step(o, k);
    step.head.guidance = o.cfg_schedule == CfgSchedule::kConstant ? o.cfg : 1 + (o.cfg - 1) * share;
    plan.steps.push_back(step);
    masked = left;
  }
  return plan;
}

ObjectiveResult mar_loss(const FarModel& model, const ObjectiveOptions& o, const ObjectiveBatch& batch) {
  const ModelConfig& m = model.config();
  const Tensor none = at::zeros({batch.latents.size(0)}, at::kLong);  // MAR has no levels
  const Tensor missing = draw_missing(o, m, none, batch);             // (B, L)
  const Tensor z = conditions_of(model, o, patchify(noised_latents(o, batch), m.patch), missing, batch);   // (B, L, D)
  const Tensor image_loss = loss_of(model, o, z, none, patchify(batch.latents, m.patch), missing, batch);  // (B)
  return {image_loss.mean(), image_loss.detach(), at::full_like(none, m.levels), missing};
}

Tensor mar_sample(Generation& g) {
  const Plan& plan = g.plan();
  Tensor x = g.start();  // (B, L, C): no token is known
  for (int64_t k = 0; k < plan.size(); ++k) {
    g.on_input(k, x);
    const Tensor z = g.transformer(k, x);
    x = g.head(k, z, x);  // the tokens of this step; known ones stay
    g.on_prediction(k, x);
    g.on_filtered(k, x);  // MAR has no filter
  }
  return x;
}

}  // namespace crescendo
