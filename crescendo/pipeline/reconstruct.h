// What a tokenizer keeps of a picture: image -> image, and how far apart the two are.
#pragma once

#include "crescendo/image/image.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/tokenizer/vq_vae.h"

namespace crescendo {

struct Reconstruction {
  Image decoded;
  double mean_square_error;  // over all bytes, of 0..255
};

// The decoded mean of the posterior, or the decoded codes. Throws where the sides are not multiples of the tokenizer's
// factor.
Reconstruction reconstruct(const KlVae& vae, const Image& image);
Reconstruction reconstruct(const VqVae& vae, const Image& image);

// Of a mean square error as above, in dB.
double byte_psnr_db(double mean_square_error);

}  // namespace crescendo
