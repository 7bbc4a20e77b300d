// The diffusion loss of the head for every token of a batch (paper, eq. 1): condition z and clean token -> loss.
#pragma once

#include "crescendo/diffusion/head.h"

namespace crescendo {

struct HeadLossWeights {
  double variational_bound = 1.0;  // of the bound that trains the variance, against the square of eps
  double terminal = 1.0;           // of the squared error in eps at the last timestep
};

// z (B, L, D), level (B), or (B, L) by the token, as the head is told it, clean tokens x0 (B, L, C), and K draws for each token of the timestep
// (B, K, L) and the noise (B, K, L, C). The mean over a token's draws: (B, L).
Tensor head_loss(const Head& head, const Tensor& z, const Tensor& level, const Tensor& x0, const Tensor& timestep,
                 const Tensor& noise, const HeadLossWeights& weights);

}  // namespace crescendo
