// Raster order: the next token, row by row, given all before it (MAR, Li et al. 2024, table 1; SphereAR; LlamaGen with
// continuous tokens): plan, loss and sampling loop.
//
// A causal transformer sees x_1 .. x_{i-1} and says z_i; the diffusion head samples x_i.
#pragma once

#include "crescendo/order/generation.h"
#include "crescendo/order/objective.h"

namespace crescendo {

// L steps of one token; guidance runs over i.
Plan raster_plan(const SamplerOptions& options, const ModelConfig& model);
ObjectiveResult raster_loss(const FarModel& model, const ObjectiveOptions& options, const ObjectiveBatch& batch);
// The tokens of the finished picture: (B, L, C).
Tensor raster_sample(Generation& generation);

}  // namespace crescendo
