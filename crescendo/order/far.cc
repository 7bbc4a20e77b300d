#include "crescendo/order/far.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/order/masks.h"

namespace crescendo {

namespace {

void check_levels(const SamplerOptions& o, const ModelConfig& model) {
  for (size_t k = 0; k < o.levels.size(); ++k)
    check_usage(o.levels[k] >= 0 && o.levels[k] < model.levels, "levels must be in 0..", model.levels - 1,
                " for this model, got ", o.levels[k]);
  check_usage(o.mask || o.visible_level == 0, "visible_level says where masks end, and without masks there are none");
  if (model.predicts == Target::kClean) return;
  // Each level is made from the one before.
  bool every = o.steps == model.levels;
  for (size_t k = 0; k < o.levels.size(); ++k) every = every && o.levels[k] == static_cast<int64_t>(k);
  check_usage(every, "this model predicts the next level, so it takes a step at each of its levels, 0..",
              model.levels - 1, "; got ", o.steps, " steps of preset ", o.preset, ", the last at level ",
              o.levels.back(), "; leave out levels, and take the preset paper or steps ", model.levels);
}

}  // namespace

Plan far_plan(const SamplerOptions& o, const ModelConfig& model) {
  check_levels(o, model);
  Plan plan;
  plan.order = Order::kFar;
  plan.random_order = o.mask;
  plan.filter = o.filter;
  for (int64_t k = 0; k < o.steps; ++k) {
    Step step;
    step.head = head_step(o, k);
    step.head.level = static_cast<double>(o.levels[static_cast<size_t>(k)]);
    step.masked = hidden_at_step(o, model.tokens(), k);
    // A prediction of the next level is filtered already.
    const bool filters = model.predicts == Target::kClean && (k > 0 || o.filter_first);
    if (filters && k + 1 < o.steps) step.filter = o.levels[static_cast<size_t>(k + 1)];
    plan.steps.push_back(step);
  }
  return plan;
}

ObjectiveResult far_loss(const FarModel& model, const ObjectiveOptions& o, const Lowpass& lowpass,
                         const ObjectiveBatch& batch) {
  const ModelConfig& m = model.config();
  const Tensor i = draw_levels(o, m.levels, batch);                                  // (B)
  const Tensor x_i = lowpass(noised_latents(o, batch), i);                           // (B, C, H, W)
  const Tensor missing = draw_missing(o, m, i, batch);                               // (B, L)
  const Tensor z = conditions_of(model, o, patchify(x_i, m.patch), missing, batch);  // (B, L, D)
  // The target is the clean latent at every level (the paper's simplification), or the next level (its ablation).
  const Tensor x = o.target == Target::kClean ? batch.latents : lowpass(batch.latents, (i + 1).clamp_max(m.levels));
  const Tensor image_loss = loss_of(model, o, z, i, patchify(x, m.patch), missing, batch);  // (B)
  if (!o.level_weight) return {image_loss.mean(), image_loss.detach(), i, missing};
  std::vector<float> w_i;
  for (int64_t b = 0; b < i.size(0); ++b)
    w_i.push_back(static_cast<float>(level_weight(i.data_ptr<int64_t>()[b], m.levels)));
  return {(image_loss * at::tensor(w_i).to(image_loss.device())).mean(), image_loss.detach(), i, missing};
}

// Section 4.2, "Inference". Without masks nothing is ever hidden, and hide() does nothing.
Tensor far_sample(Generation& g) {
  const Plan& plan = g.plan();
  Tensor x = g.start();  // x_0 (B, L, C): nothing is known yet
  for (int64_t k = 0; k < plan.size(); ++k) {
    const Step& step = plan.steps[static_cast<size_t>(k)];
    g.on_input(k, x);
    const Tensor z = g.transformer(k, x);  // (B, L, D), and the unconditional ones behind where guided
    x = g.keep_known(g.head(k, z));        // the clean tokens x, all predicted anew
    g.on_prediction(k, x);
    if (step.filter) x = g.lowpass(x, *step.filter);  // x_{i+1}, the input of the next level
    g.on_filtered(k, x);
    x = g.hide(x, plan.masked_after(k));
  }
  return x;
}

}  // namespace crescendo
