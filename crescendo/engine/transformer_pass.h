// The transformer of a model as it is executed for sampling: tokens and conditions -> z.
//
// On a CPU the weights of a small model are packed once and each thread takes images of its own. On a GPU a pass is
// captured as a graph (engine/graph_cache.h).
#pragma once

#include <optional>
#include <tuple>

#include "crescendo/engine/execution.h"
#include "crescendo/engine/graph_cache.h"
#include "crescendo/model/far_model.h"

namespace crescendo {

// The model must outlive it and not change. Not for two threads at once.
class TransformerPass {
 public:
  explicit TransformerPass(const FarModel& model, const Execution& execution = {});

  // Tokens (B, L, C), condition (B, *, D), a mask that hides the same number of tokens in every image -> z (B, L, D).
  Tensor run(const Tensor& tokens, const Tensor& condition, const TokenMask& mask);
  // The same where every image has the same tokens, all of them visible or none: images with equal conditions share one
  // computation, and the results of the last call are kept for the next.
  Tensor run_shared(const Tensor& tokens, const Tensor& condition, const TokenMask& mask);

  // Step k of a sequence, as Sequence::step; its shapes differ from step to step, so there is no graph of it.
  Tensor step(int64_t k, const Tensor& inputs, const Tensor& condition, const Tensor& cache) const;
  Tensor cache(int64_t batch) const { return std::get<Sequence>(transformer_).cache(batch); }

 private:
  bool plain_, small_;
  Transformer transformer_;
  GraphCache<std::tuple<int64_t, int64_t>> graphs_;  // by images and visible tokens
  // The distinct conditions of the last shared call, on the CPU, and their results.
  struct Shared {
    Tensor conditions, z;  // (N, * D), (N, L, D)
    bool masked = false;
  };
  std::optional<Shared> shared_;
};

}  // namespace crescendo
