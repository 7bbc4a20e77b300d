// A generation as data: the outer steps of a picture, made by pure functions (far.h, mar.h, ...) from sampler options
// and executed by the sampling loop of the same file. It can be printed (--dry-run) and tested without a model.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "crescendo/engine/head_step.h"
#include "crescendo/order/sampler_options.h"

namespace crescendo {

struct Step {
  HeadStep head;
  std::optional<int64_t> filter;  // level of the low-pass applied to the prediction afterwards
  int64_t masked = 0;             // tokens hidden from the encoder on entering this step
};

// What is known before the first step: nothing, or latents. Tokens are (B, L).
struct Start {
  Tensor latents;     // (B, C, H, W) in scaled units; undefined: nothing
  int64_t level = 0;  // of the low-pass of the latents that the first step sees
  Tensor known;       // (B, L) bool: tokens that stay what they are in the latents; undefined: none
};

struct Plan {
  Order order = Order::kFar;
  std::vector<Step> steps;
  Start start{};
  bool random_order = false;  // tokens are revealed in a random order, an image's own (masks)
  FilterType filter = FilterType::kSpatial;

  int64_t size() const { return static_cast<int64_t>(steps.size()); }  // S
  int64_t masked_after(int64_t k) const {                              // tokens that stay hidden after step k
    return k + 1 < size() ? steps[static_cast<size_t>(k + 1)].masked : 0;
  }
  int64_t inner_steps() const;  // of all outer steps
};

// Which tokens of outer step k are read, as first and end place in the order in which tokens are hidden: a place
// below `masked` is hidden. MAR predicts each token once. FAR's low-pass mixes neighbours, so it reads all tokens;
// without one, those that stay visible.
std::pair<int64_t, int64_t> places_read(const Plan& plan, int64_t k, int64_t tokens);

// What the sampler options say of outer step k, at level 0: guidance, temperature and inner steps. Throws a usage error
// where there are no such inner steps.
HeadStep head_step(const SamplerOptions& options, int64_t k);

// Throws a usage error where options contradict each other or the model.
Plan make_plan(const SamplerOptions& options, const ModelConfig& model);

// A warning, with what to do, about a plan whose pictures will be noise: where an error of the head in its first eps is
// multiplied by more than in the paper's first step (822), or by hundreds in the result, or where inner steps start at
// a timestep that has more of the picture than of noise. Null where the plan is sound.
std::optional<std::string> noise_warning(const Plan& plan);

Json plan_to_json(const Plan& plan);

}  // namespace crescendo
