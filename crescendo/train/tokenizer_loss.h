// Loss and measures of tokenizers in training. Of the KL-VAE:
//
//   loss = l2 * mean (y - x)^2 + l1 * mean |y - x| + kl * KL(q || N(0, 1)) / (elements of an image)
//
// with x the image in [-1, 1], z drawn from the posterior q and y = decode(z). The KL weight is thus per pixel value
// and does not depend on the side. Of the VQ tokenizer:
//
//   loss = l2 * mean (y - x)^2 + l1 * mean |y - x| + commitment * mean (z - e)^2
//
// with z the encoder's vectors, e the nearest ones of the codebook, held constant, and y = decode(e), whose gradient
// goes to z as it is. The codebook follows z by running averages (tokenizer/codebook.h).
#pragma once

#include "crescendo/core/fields.h"
#include "crescendo/tokenizer/codebook.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/tokenizer/vq_vae.h"
#include "crescendo/train/training_images.h"

namespace crescendo {

struct TokenizerLossWeights {
  double l2 = 1.0;
  double l1 = 0.1;
  double kl = 1e-3;
  double commitment = 0.25;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("l2", s.l2, "weight of the mean square error");
    v("l1", s.l1, "weight of the mean absolute error");
    v("kl", s.kl, "weight of the KL divergence per pixel value (KL-VAE)");
    v("commitment", s.commitment, "weight of the distance to the codebook (VQ)");
  }
};

// One step's loss, differentiable: image (B, 3, H, W) in [-1, 1], noise (B, C, h, w) of the posterior; `added`, of the
// same shape, goes on top of its sample.
struct TokenizerLoss {
  Tensor total, l2, l1;  // scalars
  Tensor bottleneck;     // scalar: KL in nats per pixel value, or the mean square distance to the codebook
};
TokenizerLoss tokenizer_loss(const KlVae& vae, const Tensor& image, const Tensor& noise,
                             const TokenizerLossWeights& weights, const Tensor& added = {});

// Of a VQ tokenizer, with what the codebook learns from: the vectors (M, C), detached, and their codes (M).
struct VqLoss {
  TokenizerLoss loss;
  Tensor vectors, codes;
};
VqLoss vq_loss(const VqVae& vae, const Tensor& image, const TokenizerLossWeights& weights);

struct ReconstructionQuality {
  double psnr = 0.0;         // of decode(posterior mean), clipped to [-1, 1]; from the mean square error of all images
  double psnr_sample = 0.0;  // of decode(posterior sample)
  double kl = 0.0;           // of the posterior to N(0, 1), in nats per pixel value
};
ReconstructionQuality reconstruction_quality(const KlVae& vae, const TrainingImages& images, int64_t first,
                                             int64_t count, uint64_t seed);
// PSNR of decode(encode), and how the codes are used over these images.
struct VqQuality {
  double psnr = 0.0;
  CodeUse use;
};
VqQuality reconstruction_quality(const VqVae& vae, const TrainingImages& images, int64_t first, int64_t count);

// Standard deviation of posterior samples about their overall mean, before any scale.
double measure_latent_std(const KlVae& vae, const TrainingImages& images, int64_t count, uint64_t seed);

// Peak signal to noise in dB of a mean square error over values in [-1, 1].
double psnr_db(double mean_square);

// The posterior's noise for a batch of a training step: (B, C, h, w).
Tensor posterior_noise(const KlVae& vae, const Tensor& image, uint64_t seed, uint32_t step);
// Noise of a strength drawn from [0, strongest] for each image, in the units of what the decoder takes; undefined where
// none is asked for.
Tensor decoder_noise(const KlVae& vae, const Tensor& image, double strongest, uint64_t seed, uint32_t step);

}  // namespace crescendo
