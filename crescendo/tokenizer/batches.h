// Many images or latents through a tokenizer, a few at a time, so that memory does not grow with their number.
//
// Results are on the CPU. Throws where one of them holds NaN or infinity, and when the user interrupts.
#pragma once

#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/tokenizer/vq_vae.h"

namespace crescendo {

Tensor encode_in_batches(const KlVae& vae, const Tensor& images);  // (B, 3, H, W) -> moments (B, 2C, h, w)
Tensor encode_in_batches(const VqVae& vae, const Tensor& images);  // (B, 3, H, W) -> codes (B, h, w)
Tensor decode_in_batches(const VqVae& vae, const Tensor& codes);   // (B, h, w) -> (B, 3, f h, f w)
// `tile`: the side in cells of the tiles that a latent is decoded in (tokenizer/tiles.h); 0: as a whole.
Tensor decode_in_batches(const KlVae& vae, const Tensor& latents, int64_t tile);  // (B, C, h, w) -> (B, 3, f h, f w)

}  // namespace crescendo
