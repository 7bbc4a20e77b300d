#include "crescendo/order/sample.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <optional>

#include "crescendo/core/check.h"
#include "crescendo/order/far.h"
#include "crescendo/order/mar.h"
#include "crescendo/order/next_scale.h"
#include "crescendo/order/raster.h"

namespace crescendo {

namespace {

Tensor sample_tokens(Generation& generation) {
  switch (generation.plan().order) {
    case Order::kFar:
      return far_sample(generation);
    case Order::kMar:
      return mar_sample(generation);
    case Order::kRaster:
      return raster_sample(generation);
    case Order::kNextScale:
      return next_scale_sample(generation);
  }
  fail("sample: no order number ", static_cast<int>(generation.plan().order));
}

}  // namespace

Tensor Sampler::sample(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks) {
  const ModelConfig& model = parts_.model.config();
  check(plan.order == model.order, "sample: a plan of order ", enum_name(plan.order), " for a model of order ",
        enum_name(model.order));
  check(!plan.start.known.defined() || plan.start.latents.defined(),
        "sample: the plan's start knows tokens, but has no latents");
  check(model.order == Order::kFar || !plan.start.latents.defined(), "sample: only FAR can start from latents");
  Tensor latents;
  try {
    const at::NoGradGuard no_grad;
    // Inference mode saves most of the overhead of a small operation.
    std::optional<c10::InferenceMode> inference;
    if (parts_.model.device().is_cpu()) inference.emplace();
    Generation generation(parts_, plan, condition, noise, hooks);
    latents = unpatchify(sample_tokens(generation), model);
  } catch (const GenerationStopped&) {
    return {};
  }
  return latents.is_inference() ? latents.clone() : latents;
}

Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks, const Execution& execution) {
  return Sampler(model, execution).sample(condition, plan, noise, hooks);
}

}  // namespace crescendo
