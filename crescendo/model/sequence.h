// (earlier tokens, condition) -> z: the transformer of the orders that go through a sequence, raster and next-scale.
//
// One stack of FAR's blocks over `buffer_size` copies of the class vector and the tokens' inputs. Raster: token i
// enters where token i + 1 is predicted. Next-scale: the whole of scale k enters as what the scales before it make of
// it, and scale 1 as a learned vector. A row sees the buffer and what its step may: the rows before it (raster), the
// scales up to its own (next-scale), or its own scale alone (`markov`). Parameters carry FAR's names where they are
// FAR's parts.
#pragma once

#include <vector>

#include "crescendo/model/backbone.h"

namespace crescendo {

class Sequence : public Conditions {
 public:
  Sequence(const Scope& scope, const ModelConfig& config);
  // As Backbone::prepared.
  Sequence prepared(Products how) const;

  // All steps at once, from the true inputs of all but the first: raster (B, L - 1, C), next-scale (B, L - L_1, C).
  // Condition (B, 1, D) -> z (B, L, D), L being the tokens of all steps.
  Tensor forward(const Tensor& inputs, const Tensor& condition, BackboneDropout dropout = {}) const;

  // One step after the other: step k from its inputs, raster (B, 1, C), next-scale (B, L_k, C), the first from none at
  // all. `cache` holds keys and values of the steps before and takes those of this one. Without gradients. z (B, n, D)
  // of the step's n tokens.
  Tensor step(int64_t k, const Tensor& inputs, const Tensor& condition, const Tensor& cache) const;
  // An empty one: (blocks, 2, B, rows, heads * d).
  Tensor cache(int64_t batch) const;
  // Rows that a step takes through the blocks.
  int64_t step_rows(int64_t k) const;

 private:
  // The rows of the tokens of step k >= 1 (next-scale: k >= 0), without their position.
  Tensor entering(int64_t k, const Tensor& inputs) const;
  // Which keys a row may see: (1, 1, M, M), 0 or -inf.
  Tensor bias(const Tensor& like) const;
  Tensor run(const Tensor& x, const BlockInput& in, const Tensor& cache = {}) const;
  bool is_raster() const { return config_.order == Order::kRaster; }

  ModelConfig config_;
  std::vector<int64_t> tokens_;  // of each step
  std::vector<int64_t> first_;   // number of its first token, and behind the last of all
  Tensor start_;                 // (1, 1, D) what enters as scale 1
  Tensor level_;                 // (K, D) added to the rows of each scale
  Tensor position_;              // (1, buffer_size + L or L - 1, D)
  Tensor diffusion_position_;    // (1, L, D)
  Linear z_proj_;
  LayerNorm z_proj_ln_;
  std::vector<VitBlock> blocks_;
  LayerNorm norm_;
};

}  // namespace crescendo
