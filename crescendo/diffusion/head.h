// The diffusion head: (x_t, t, z, level) -> eps and variance fraction, per token (paper, section 3.1).
//
// An MLP with adaptive LayerNorm. Its condition is y = time_embed(t) + cond_embed(z) + index_cond_embed(level); the
// first term is shared by all rows of a step and the others by all inner steps, so each is computed on its own.
#pragma once

#include <vector>

#include "crescendo/nn/layers.h"

namespace crescendo {

struct HeadConfig {
  int64_t token_channels = 16;    // C
  int64_t condition_width = 768;  // D
  int64_t width = 1024;
  int64_t blocks = 6;
  bool level_input = true;  // FAR tells the head its level; MAR has none
};

class Head {
 public:
  Head(const Scope& scope, const HeadConfig& config);

  Tensor time_embedding(const Tensor& t) const;                  // (M), any real number -> (M, W)
  Tensor condition(const Tensor& z, const Tensor& level) const;  // (M, D), (M, 1) or (1, 1) -> (M, W)
  Tensor forward(const Tensor& x, const Tensor& y) const;        // (M, C), y (M, W) or (1, W) -> (M, 2C)
  const HeadConfig& config() const { return config_; }

  struct Block {
    Block(const Scope& scope, int64_t width);
    LayerNorm in_ln;
    Linear mlp0, mlp2, modulation;
    Tensor operator()(const Tensor& x, const Tensor& silu_y) const;
  };
  // Read by FusedHead, which states the same function in fewer passes.
  const std::vector<Block>& blocks() const { return blocks_; }
  const Linear& input_proj() const { return input_proj_; }
  const Linear& final_modulation() const { return final_modulation_; }
  const Linear& final_linear() const { return final_linear_; }
  static double final_eps();  // of the normalisation in the last layer

 private:
  HeadConfig config_;
  Linear time0_, time2_, cond_embed_;
  Linear level_embed_;
  Linear input_proj_;
  std::vector<Block> blocks_;
  Linear final_modulation_, final_linear_;
};

}  // namespace crescendo
