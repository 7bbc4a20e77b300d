// Encoder and decoder of the VAE of latent diffusion (Rombach et al. 2022), without what stands between them: KL-VAE and
// VQ tokenizer differ there alone. Parameters carry the published names.
#pragma once

#include <optional>
#include <vector>

#include "crescendo/tokenizer/config.h"
#include "crescendo/tokenizer/layers.h"

namespace crescendo {

class Encoder {
 public:
  // `out` channels leave it.
  Encoder(const Scope& scope, const KlVaeConfig& config, int64_t out);
  // (B, 3, H, W) in [-1, 1] -> (B, out, H/f, W/f). Throws where the image does not fit.
  Tensor operator()(const Tensor& image) const;

 private:
  KlVaeConfig config_;
  Conv2d in_;
  std::vector<VaeLevel> down_;
  std::optional<VaeMiddle> middle_;
  GroupNorm norm_;
  Conv2d out_;
};

class Decoder {
 public:
  Decoder(const Scope& scope, const KlVaeConfig& config);
  // (B, C, h, w) -> (B, 3, f h, f w), fp32 and not clipped.
  Tensor operator()(const Tensor& latents) const;
  // Of the convolutions and attention products for a latent of these sides; a multiply-add is two.
  double flop(int64_t height, int64_t width) const;

 private:
  KlVaeConfig config_;
  Conv2d in_;
  std::optional<VaeMiddle> middle_;
  std::vector<VaeLevel> up_;  // in the order of the names: up.0 has the highest resolution and runs last
  GroupNorm norm_;
  Conv2d out_;
};

// Channels last on a CPU in use, where convolutions run faster and every layer hands it on. Gradients of small
// convolutions do not gain.
Tensor channels_last_in_use(const Tensor& x);

}  // namespace crescendo
