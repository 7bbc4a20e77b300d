// Sampling: condition, plan and noise -> latents, by the model's order of generation.
#pragma once

#include "crescendo/order/generation.h"

namespace crescendo {

// Executes plans for one model, which must outlive it and not change. What does not depend on the picture is kept from
// one call to the next: tables, rearranged weights, graphs, and the transformer's output at the start of a picture. Not
// for two threads at once.
class Sampler {
 public:
  explicit Sampler(const FarModel& model, const Execution& execution = {}) : parts_(model, execution) {}

  // `condition` is the model's Conditions::class_condition or text_condition, (B, *, D). Latents (B, C, H, W) in the
  // tokenizer's scaled units, or an undefined tensor where a hook stopped it.
  Tensor sample(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks = {});

 private:
  SamplerParts parts_;
};

// For one picture or batch.
Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks = {}, const Execution& execution = {});

}  // namespace crescendo
