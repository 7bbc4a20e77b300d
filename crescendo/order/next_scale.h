// Next-scale order with continuous tokens (VAR, Tian et al. 2024; without residuals FlowAR, Ren et al. 2024): plan,
// loss and sampling loop.
//
// A picture is K scales of sides s_1 < .. < s_K = H. D_k averages the latent down to s_k, U_k brings it back by bicubic
// interpolation; both are halves of FAR's filter (a). One call of the transformer predicts all L_k tokens of a scale.
//
//   residual:  r_k = D_k (x - h_{k-1}),  h_k = h_{k-1} + U_k r_k,  the picture is h_K
//   otherwise: r_k = D_k x,              h_k = U_k r_k,            the picture is r_K
//
// Scale k enters as D_k h_{k-1}, and what is learned is r_k / c_k.
#pragma once

#include <functional>

#include "crescendo/order/generation.h"
#include "crescendo/order/objective.h"

namespace crescendo {

// K steps, one a scale.
Plan next_scale_plan(const SamplerOptions& options, const ModelConfig& model);
ObjectiveResult next_scale_loss(const FarModel& model, const ObjectiveOptions& options, const ObjectiveBatch& batch);
// The tokens of the finished picture at its full side: (B, L_K, C).
Tensor next_scale_sample(Generation& generation);

// What is learned of latents (B, C, H, W): the inputs of scales 2 .. K, (B, L - L_1, C), and the targets of all,
// (B, L, C). `error(k, r_k)`, where given, is added to r_k before it enters h_k, as a sampler would err; the targets
// behind it make up for it.
struct ScaleTokens {
  Tensor inputs, targets;
};
ScaleTokens scale_tokens(const ModelConfig& model, const Tensor& latents,
                         const std::function<Tensor(int64_t k, const Tensor& r)>& error = {});

// The standard deviation of r_k over latents, for each scale: what the model's scale_std may be.
std::vector<double> measured_scale_std(const ModelConfig& model, const Tensor& latents);

}  // namespace crescendo
