// A whole model: transformer and diffusion head over one set of named parameters.
#pragma once

#include <memory>
#include <variant>

#include "crescendo/diffusion/head.h"
#include "crescendo/model/sequence.h"

namespace crescendo {

// A model's transformer, by its order of generation: FAR's and MAR's, or that of raster and next-scale.
using Transformer = std::variant<Backbone, Sequence>;

class FarModel {
 public:
  static std::unique_ptr<FarModel> random(const ModelConfig& config, uint64_t seed);
  // Names and shapes without values: params() lists and counts them.
  static std::unique_ptr<FarModel> outline(const ModelConfig& config);
  // Takes the tensors as they are (mapped ones stay mapped); throws with names where they do not fit.
  static std::unique_ptr<FarModel> from(const ModelConfig& config, TensorMap weights, const std::string& source_name);

  const ModelConfig& config() const { return config_; }
  // Before training: what the targets of a next-scale model are divided by, measured.
  void set_scale_std(std::vector<double> scale_std) { config_.scale_std = std::move(scale_std); }
  const Transformer& transformer() const { return transformer_; }
  // Throw where the transformer is the other one.
  const Backbone& backbone() const { return std::get<Backbone>(transformer_); }
  const Sequence& sequence() const { return std::get<Sequence>(transformer_); }
  const Conditions& conditions() const {
    return std::visit([](const Conditions& c) -> const Conditions& { return c; }, transformer_);
  }
  const Head& head() const { return head_; }
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  at::Device device() const { return params_.items().front().second.device(); }
  at::ScalarType dtype() const { return params_.items().front().second.scalar_type(); }

 private:
  FarModel(const ModelConfig& config, Params params);
  ModelConfig config_;
  Params params_;
  Transformer transformer_;
  Head head_;
};

// (B, C, H, W) <-> (B, L, C p p), channels in the order (c, row in patch, column in patch).
Tensor patchify(const Tensor& latents, int64_t patch);
Tensor unpatchify(const Tensor& tokens, int64_t patch, int64_t height, int64_t width);
Tensor unpatchify(const Tensor& tokens, const ModelConfig& config);

}  // namespace crescendo
