#include "crescendo/diffusion/head_loss.h"

#include <ATen/ATen.h>

#include "crescendo/diffusion/gaussian.h"

namespace crescendo {

Tensor head_loss(const Head& head, const Tensor& z, const Tensor& level, const Tensor& clean, const Tensor& timestep,
                 const Tensor& drawn, const HeadLossWeights& weights) {
  const int64_t batch = timestep.size(0), draws = timestep.size(1), tokens = timestep.size(2);
  const auto device = z.device();
  const Tensor levels = level.to(device).to(at::kFloat).reshape({batch, -1, 1}).expand({batch, tokens, 1});
  const Tensor y = head.condition(z, levels);  // (B, L, W)
  // The K draws of a token share its condition: (B, K, L, *) flattened to M = B K L rows.
  const auto repeat = [&](const Tensor& x) {
    return x.unsqueeze(1).expand({batch, draws, tokens, x.size(2)}).reshape({-1, x.size(2)});
  };
  const Tensor x0 = repeat(clean), t = timestep.view({-1}), noise = drawn.to(device).view({-1, clean.size(2)});
  const Tensor x_t = q_sample(x0, t, noise);  // (M, C)
  const Tensor times = head.time_embedding(t.to(device)).view({-1, y.size(2)});
  const Tensor output = head.forward(x_t, repeat(y) + times).to(at::kFloat);  // (M, 2C)
  const DiffusionLoss loss = diffusion_loss(output, x0, x_t, t, noise);
  Tensor mse = loss.mse;  // (M)
  if (weights.terminal != 1.0) {
    const Tensor terminal = (t == kTrainingTimesteps - 1).to(device);
    mse = at::where(terminal, mse * weights.terminal, mse);
  }
  return (mse + weights.variational_bound * loss.vb).view({batch, draws, tokens}).mean({1});  // (B, L)
}

}  // namespace crescendo
