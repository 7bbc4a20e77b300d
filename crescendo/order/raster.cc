#include "crescendo/order/raster.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"

namespace crescendo {

Plan raster_plan(const SamplerOptions& o, const ModelConfig& model) {
  check_usage(o.steps == model.tokens(), "the order raster draws one token a step: steps must be ", model.tokens(),
              ", got ", o.steps, "; leave it out");
  Plan plan;
  plan.order = Order::kRaster;
  plan.filter = o.filter;
  for (int64_t i = 0; i < o.steps; ++i) plan.steps.push_back({head_step(o, i), {}, 0});
  return plan;
}

ObjectiveResult raster_loss(const FarModel& model, const ObjectiveOptions& o, const ObjectiveBatch& batch) {
  const ModelConfig& m = model.config();
  const Tensor none = at::zeros({batch.latents.size(0)}, at::kLong);                              // no levels
  const Tensor x = patchify(batch.latents, m.patch);                                              // (B, L, C)
  const Tensor before = patchify(noised_latents(o, batch), m.patch).slice(1, 0, m.tokens() - 1);  // x_1 .. x_{L-1}
  const Tensor z = conditions_of(model, o, before, {}, batch);                                    // (B, L, D)
  const Tensor image_loss = loss_of(model, o, z, none, x, {}, batch);                             // (B)
  return {image_loss.mean(), image_loss.detach(), at::full_like(none, m.levels), {}};
}

Tensor raster_sample(Generation& g) {
  Tensor x = g.start();  // (B, L, C): no token is known
  for (int64_t i = 0; i < g.plan().size(); ++i) {
    g.on_input(i, x);
    const Tensor z = g.step(i, i > 0 ? x.narrow(1, i - 1, 1) : Tensor());  // (B or 2B, 1, D)
    x.narrow(1, i, 1).copy_(g.head(i, z));
    g.on_prediction(i, x);
    g.on_filtered(i, x);
  }
  return x;
}

}  // namespace crescendo
