// Latents too large to be decoded at once, in tiles that overlap and are blended where they do.
//
// Not exact: the norms and the attention of a decoder see their tile and not the whole, so tiles should be as large as
// memory allows. Memory grows with the tile, the result aside.
#pragma once

#include <functional>

#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

struct Tiling {
  int64_t side = 64;     // of a tile, in cells of the latent
  int64_t overlap = 16;  // of neighbours, in cells
};

// `decode` takes (B, C, h, w) and gives (B, C', f h, f w), fp32, of which the whole is put together from tiles of at
// most tiling.side: weights rise linearly from a tile's edge over the overlap and sum to one. What fits into one tile
// is decoded as it is.
Tensor decode_in_tiles(const Tensor& latents, const Tiling& tiling, int64_t f,
                       const std::function<Tensor(const Tensor&)>& decode);

}  // namespace crescendo
