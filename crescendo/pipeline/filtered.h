// Pictures as a model's outer steps see them: image -> x_1 .. x_F, each a picture (paper, figure 13).
#pragma once

#include <vector>

#include "crescendo/image/image.h"
#include "crescendo/spectral/lowpass.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

// The mean of the tokenizer's posterior, filtered to the levels 1..`levels` and decoded; the last is the picture as the
// tokenizer gives it back. Throws where the latent has a side of less than `levels` cells.
std::vector<Image> filtered_pictures(const KlVae& vae, const Image& image, FilterType filter, int64_t levels);

}  // namespace crescendo
