// Executes a plan: outer steps of the transformer, inner steps of the diffusion head (paper, section 4.2).
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "crescendo/model/far_model.h"
#include "crescendo/order/inner_loop.h"
#include "crescendo/order/noise.h"
#include "crescendo/order/plan.h"
#include "crescendo/spectral/lowpass.h"

namespace crescendo {

// Seconds spent in the transformer and in the diffusion head, with the solver around it.
struct SampleTimes {
  double backbone_s = 0, head_s = 0;
};

// Looks on; any function may be empty. Returning false stops the generation. Tensors are to be read, or copied: they
// may be of LibTorch's inference mode.
struct SampleHooks {
  // After outer step k: the full-band prediction (B, C, H, W), before the filter.
  std::function<bool(int64_t k, const Tensor& latents)> on_outer_step;
  // After outer step k: what is left of it for the next step to see, before tokens are hidden (B, C, H, W).
  std::function<void(int64_t k, const Tensor& latents)> on_filtered;
  // After each evaluation of the head, counted over the whole plan; where they run as one graph, after all of a step.
  std::function<bool(int64_t done, int64_t total)> on_inner_step;
  // The tokens entering outer step k, hidden ones zero: (B, L, C).
  std::function<void(int64_t k, const Tensor& tokens)> on_input;
  SampleTimes* times = nullptr;  // what to add times to; waits for the device after every part
};

// Executes plans for one model. What does not depend on the picture is kept from one call to the next: tables, the
// head's rearranged weights, a GPU's graphs, and the transformer's answer to a condition before anything is known. So
// the model, which must outlive it, may not change meanwhile. Not for two threads at once.
class Sampler {
 public:
  explicit Sampler(const FarModel& model, Execution execution = {});

  // `condition` is the model's class_condition or text_condition, (B, *, D). Returns latents (B, C, H, W) in the
  // tokenizer's scaled units, or an undefined tensor where a hook stopped it. Throws where they are not finite after an
  // outer step, which on a GPU is asked once a step.
  Tensor sample(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks = {});

 private:
  Tensor execute(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks);
  Tensor first_forward(const Tensor& tokens, const Tensor& condition, TokenMask mask);
  Tensor forward(const Tensor& tokens, const Tensor& condition, const TokenMask& mask);

  const FarModel& model_;
  bool plain_, small_;
  Backbone backbone_;                                // the model's, packed where it is small or in int8
  Recordings<std::tuple<int64_t, int64_t>> passes_;  // of the transformer, by rows and visible tokens
  InnerLoop inner_loop_;
  std::map<FilterType, Lowpass> lowpass_;
  // The last conditions (N, * D) that stood at the beginning of a picture, each once and on the CPU, and what came of
  // them (N, L, D).
  struct First {
    Tensor conditions, z;
    bool masked = false;
  };
  std::optional<First> first_;
};

// For one picture or batch.
Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks = {}, Execution execution = {});

}  // namespace crescendo
