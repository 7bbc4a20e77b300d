// image <-> codes: the VQ tokenizer (van den Oord et al. 2017; as LlamaGen has it), with the encoder and decoder of the
// KL-VAE. What discrete rivals of FAR predict (paper, Figures 2a and 6).
//
// encode: image (B, 3, H, W) in [-1, 1] -> codes (B, H/f, W/f) in 0 .. N - 1. decode: codes -> image.
// Vectors of latent_channels numbers, of length 1, stand between the two; a code is the nearest of N in the codebook.
#pragma once

#include <memory>
#include <string>

#include "crescendo/nn/params.h"
#include "crescendo/tokenizer/autoencoder.h"

namespace crescendo {

struct VqConfig {
  KlVaeConfig sizes;    // latent_channels: numbers in a codebook vector; latent_scale is not used
  int64_t codes = 1024;  // N

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    KlVaeConfig::fields(s.sizes, v);
    v("codes", s.codes, "vectors in the codebook");
  }
  void validate() const;
};

class VqVae {
 public:
  static std::unique_ptr<VqVae> random(const VqConfig& config, uint64_t seed);
  // Takes the tensors as they are; throws with names where they do not fit.
  static std::unique_ptr<VqVae> from(const VqConfig& config, TensorMap weights, const std::string& source_name);

  Tensor encode(const Tensor& image) const;  // (B, 3, H, W) in [-1, 1] -> codes (B, h, w) int64
  Tensor decode(const Tensor& codes) const;  // -> (B, 3, f h, f w), fp32 and not clipped

  // The two halves of each, for training: vectors (B, C, h, w) of length 1, before they are replaced by the codebook's.
  Tensor vectors(const Tensor& image) const;
  Tensor codes_of(const Tensor& vectors) const;        // (B, C, h, w) -> (B, h, w)
  Tensor vectors_of(const Tensor& codes) const;        // (B, h, w) -> (B, C, h, w)
  Tensor decode_vectors(const Tensor& vectors) const;  // (B, C, h, w) -> (B, 3, f h, f w)

  const VqConfig& config() const { return config_; }
  const Tensor& codebook() const { return codebook_; }  // (N, C), rows of length 1
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  at::Device device() const { return codebook_.device(); }
  at::ScalarType dtype() const { return codebook_.scalar_type(); }

 private:
  VqVae(const VqConfig& config, Params params);
  VqConfig config_;
  Params params_;
  Encoder encoder_;
  Conv2d quant_conv_;
  Tensor codebook_;
  Conv2d post_quant_conv_;
  Decoder decoder_;
};

inline constexpr const char* kCodebookName = "quantize.embedding.weight";

// Bits of a tokenizer's code over those of the picture (paper, equations 5 and 6), with three bytes a pixel: for N codes
// log2 N / (24 f^2), for C channels in fp32 32 C / (24 f^2).
double compression_ratio(const VqConfig& config);
double compression_ratio(const KlVaeConfig& config);
// Of the pixels that a token stands for: 24 f^2.
double bits_per_token(const KlVaeConfig& config);

}  // namespace crescendo
