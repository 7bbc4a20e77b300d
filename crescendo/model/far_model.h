// A whole model: backbone and diffusion head over one set of named parameters.
#pragma once

#include <memory>

#include "crescendo/diffusion/head.h"
#include "crescendo/model/backbone.h"

namespace crescendo {

class FarModel {
 public:
  static std::unique_ptr<FarModel> random(const ModelConfig& config, uint64_t seed);
  // Names and shapes without values: params() lists and counts them.
  static std::unique_ptr<FarModel> outline(const ModelConfig& config);
  // Takes the tensors as they are (mapped ones stay mapped); throws with names where they do not fit.
  static std::unique_ptr<FarModel> from(const ModelConfig& config, TensorMap weights, const std::string& source_name);

  const ModelConfig& config() const { return config_; }
  const Backbone& backbone() const { return backbone_; }
  const Head& head() const { return head_; }
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  at::Device device() const { return params_.items().front().second.device(); }
  at::ScalarType dtype() const { return params_.items().front().second.scalar_type(); }

 private:
  FarModel(const ModelConfig& config, Params params);
  ModelConfig config_;
  Params params_;
  Backbone backbone_;
  Head head_;
};

// (B, C, H, W) <-> (B, L, C p p), channels in the order (c, row in patch, column in patch).
Tensor patchify(const Tensor& latents, int64_t patch);
Tensor unpatchify(const Tensor& tokens, const ModelConfig& config);

}  // namespace crescendo
