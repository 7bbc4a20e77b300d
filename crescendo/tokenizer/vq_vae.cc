#include "crescendo/tokenizer/vq_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/tokenizer/codebook.h"

namespace crescendo {

namespace {

constexpr int64_t kMostCodes = 1 << 20;

// (B, C, h, w) -> (B h w, C)
Tensor rows_of(const Tensor& vectors) { return vectors.permute({0, 2, 3, 1}).reshape({-1, vectors.size(1)}); }

}  // namespace

void VqConfig::validate() const {
  sizes.validate();
  check_usage(codes >= 2 && codes <= kMostCodes, "tokenizer: codes must be in 2..", kMostCodes, ", got ", codes);
}

VqVae::VqVae(const VqConfig& c, Params params)
    : config_((c.validate(), c)),
      params_(std::move(params)),
      encoder_(Scope(params_) / "encoder", c.sizes, c.sizes.latent_channels),
      quant_conv_(Scope(params_) / "quant_conv", c.sizes.latent_channels, c.sizes.latent_channels, 1),
      codebook_(Scope(params_).add(kCodebookName, {c.codes, c.sizes.latent_channels}, Init::kNormal1)),
      post_quant_conv_(Scope(params_) / "post_quant_conv", c.sizes.latent_channels, c.sizes.latent_channels, 1),
      decoder_(Scope(params_) / "decoder", c.sizes) {
  params_.finish();
}

std::unique_ptr<VqVae> VqVae::random(const VqConfig& config, uint64_t seed) {
  auto vae = std::unique_ptr<VqVae>(new VqVae(config, Params::random(seed)));
  const at::NoGradGuard no_grad;
  vae->codebook_.copy_(unit_vectors(vae->codebook_));
  return vae;
}

std::unique_ptr<VqVae> VqVae::from(const VqConfig& config, TensorMap weights, const std::string& source_name) {
  auto vae = std::unique_ptr<VqVae>(new VqVae(config, Params::from(std::move(weights), source_name, {"loss."})));
  const double longest = (at::linalg_vector_norm(vae->codebook_.to(at::kFloat), 2, {1}) - 1).abs().max().item<double>();
  check(longest < 0.05, source_name, ": the vectors of ", kCodebookName, " must have length 1, and one is off by ",
        longest);
  return vae;
}

Tensor VqVae::vectors(const Tensor& image) const {
  const Tensor z = quant_conv_(encoder_(image)).to(at::kFloat);                 // (B, C, h, w)
  return unit_vectors(z.permute({0, 2, 3, 1})).permute({0, 3, 1, 2});
}

Tensor VqVae::codes_of(const Tensor& vectors) const {
  return nearest_codes(rows_of(vectors), codebook_.to(at::kFloat))
      .view({vectors.size(0), vectors.size(2), vectors.size(3)});
}

Tensor VqVae::vectors_of(const Tensor& codes) const {
  check(codes.dim() == 3 && codes.scalar_type() == at::kLong && codes.numel() > 0,
        "tokenizer: codes must be int64 (B, h, w) with sides of 1 or more, got ", codes.sizes(), " of ",
        codes.scalar_type());
  const auto lowest = codes.min().item<int64_t>(), highest = codes.max().item<int64_t>();
  check(lowest >= 0 && highest < config_.codes, "tokenizer: codes must be in 0..", config_.codes - 1, ", got ",
        lowest < 0 ? lowest : highest);
  return codebook_.index_select(0, codes.to(device()).flatten())
      .view({codes.size(0), codes.size(1), codes.size(2), -1})
      .permute({0, 3, 1, 2});
}

Tensor VqVae::decode_vectors(const Tensor& vectors) const {
  return decoder_(post_quant_conv_(channels_last_in_use(vectors.to(device(), dtype()))));
}

Tensor VqVae::encode(const Tensor& image) const { return codes_of(vectors(image)); }
Tensor VqVae::decode(const Tensor& codes) const { return decode_vectors(vectors_of(codes)); }

double bits_per_token(const KlVaeConfig& c) { return 24 * static_cast<double>(c.factor() * c.factor()); }
double compression_ratio(const VqConfig& c) {
  return std::log2(static_cast<double>(c.codes)) / bits_per_token(c.sizes);
}
double compression_ratio(const KlVaeConfig& c) { return 32 * static_cast<double>(c.latent_channels) / bits_per_token(c); }

}  // namespace crescendo
