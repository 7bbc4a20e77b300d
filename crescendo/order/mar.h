// MAR, masked autoregression in a random order (Li et al. 2024), FAR's parent: plan, loss and sampling loop.
//
// Each token is predicted once, given those predicted before, and kept.
#pragma once

#include "crescendo/order/generation.h"
#include "crescendo/order/objective.h"

namespace crescendo {

Plan mar_plan(const SamplerOptions& options, const ModelConfig& model);
ObjectiveResult mar_loss(const FarModel& model, const ObjectiveOptions& options, const ObjectiveBatch& batch);
// The tokens of the finished picture: (B, L, C).
Tensor mar_sample(Generation& generation);

}  // namespace crescendo
