// The tensor type and the letters used for shapes throughout:
//   B images, C channels of a latent, H x W its side, L tokens, D width of the transformer, F frequency levels,
//   S outer (autoregressive) steps, T inner (diffusion) steps, N text tokens. Shapes stand at the right: // (B, L, D)
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace crescendo {

using at::Tensor;
using TensorMap = std::map<std::string, Tensor>;  // name -> tensor

}  // namespace crescendo
