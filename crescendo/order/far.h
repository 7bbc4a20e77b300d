// FAR, next-frequency autoregression (paper, section 4 and Figure 7): plan, loss and sampling loop.
//
// An image is the sequence of its low-pass versions x_1 .. x_F, coarse to fine. One call of the transformer predicts
// the condition of every token at once; the diffusion head samples the clean tokens x; the low-pass makes x_{i+1} of
// them.
#pragma once

#include "crescendo/order/generation.h"
#include "crescendo/order/objective.h"

namespace crescendo {

// The outer steps: levels, hidden tokens, guidance, temperature, inner steps.
Plan far_plan(const SamplerOptions& options, const ModelConfig& model);

ObjectiveResult far_loss(const FarModel& model, const ObjectiveOptions& options, const Lowpass& lowpass,
                         const ObjectiveBatch& batch);

// The tokens of the finished picture: (B, L, C).
Tensor far_sample(Generation& generation);

}  // namespace crescendo
