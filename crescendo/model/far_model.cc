#include "crescendo/model/far_model.h"

#include <ATen/ATen.h>

namespace crescendo {

namespace {

Transformer make_transformer(const Scope& scope, const ModelConfig& config) {
  if (config.is_sequence()) return Transformer(std::in_place_type<Sequence>, scope, config);
  return Transformer(std::in_place_type<Backbone>, scope, config);
}

}  // namespace

FarModel::FarModel(const ModelConfig& config, Params params)
    : config_(config),
      params_(std::move(params)),
      transformer_(make_transformer(Scope(params_), config_)),
      head_(Scope(params_) / "diffloss.net", {config_.token_channels(), config_.width, config_.diffusion_width,
                                              config_.diffusion_blocks, config_.level_input()}) {
  params_.finish();
}

std::unique_ptr<FarModel> FarModel::random(const ModelConfig& config, uint64_t seed) {
  config.validate();
  return std::unique_ptr<FarModel>(new FarModel(config, Params::random(seed)));
}

std::unique_ptr<FarModel> FarModel::outline(const ModelConfig& config) {
  config.validate();
  return std::unique_ptr<FarModel>(new FarModel(config, Params::outline()));
}

std::unique_ptr<FarModel> FarModel::from(const ModelConfig& config, TensorMap weights, const std::string& source_name) {
  config.validate();
  return std::unique_ptr<FarModel>(new FarModel(config, Params::from(std::move(weights), source_name)));
}

Tensor patchify(const Tensor& x, int64_t p) {
  const int64_t b = x.size(0), c = x.size(1), h = x.size(2) / p, w = x.size(3) / p;
  return x.reshape({b, c, h, p, w, p}).permute({0, 2, 4, 1, 3, 5}).reshape({b, h * w, c * p * p});  // (B, L, C p p)
}

Tensor unpatchify(const Tensor& tokens, int64_t p, int64_t height, int64_t width) {
  const int64_t b = tokens.size(0), h = height / p, w = width / p, c = tokens.size(2) / (p * p);
  return tokens.reshape({b, h, w, c, p, p}).permute({0, 3, 1, 4, 2, 5}).reshape({b, c, h * p, w * p});  // (B, C, H, W)
}

Tensor unpatchify(const Tensor& tokens, const ModelConfig& m) {
  return unpatchify(tokens, m.patch, m.latent_height, m.latent_width);
}

}  // namespace crescendo
