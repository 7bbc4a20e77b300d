// Executes a plan: outer steps of the transformer, inner steps of the diffusion head (paper, section 4.2).
#pragma once

#include <functional>

#include "crescendo/model/far_model.h"
#include "crescendo/order/noise.h"
#include "crescendo/order/plan.h"

namespace crescendo {

// Seconds spent in the transformer and in the diffusion head, with the solver around it.
struct SampleTimes {
  double backbone_s = 0, head_s = 0;
};

// Looks on; any function may be empty. Returning false stops the generation.
struct SampleHooks {
  // After outer step k: the full-band prediction (B, C, H, W), before the filter.
  std::function<bool(int64_t k, const Tensor& latents)> on_outer_step;
  // After each evaluation of the head, counted over the whole plan.
  std::function<bool(int64_t done, int64_t total)> on_inner_step;
  // The tokens entering outer step k, hidden ones zero: (B, L, C).
  std::function<void(int64_t k, const Tensor& tokens)> on_input;
  SampleTimes* times = nullptr;  // what to add times to; waits for the device after every part
};

// `condition` is the model's class_condition or text_condition, (B, *, D). Returns latents (B, C, H, W) in the
// tokenizer's scaled units, or an undefined tensor where a hook stopped it. `plain` computes everything as it is
// written in the model's own code, the reference for what is faster.
Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks = {}, bool plain = false);

}  // namespace crescendo
