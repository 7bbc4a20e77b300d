// One batch of pictures while it is generated: what a sampling loop (far.cc, mar.cc, ...) is made of. Each function is
// one arrow of the paper's Figure 7, executed by the engine.
#pragma once

#include <functional>
#include <map>

#include "crescendo/engine/inner_loop.h"
#include "crescendo/engine/noise.h"
#include "crescendo/engine/transformer_pass.h"
#include "crescendo/order/plan.h"
#include "crescendo/spectral/lowpass.h"

namespace crescendo {

// Seconds spent in the transformer and in the diffusion head with its solver.
struct SampleTimes {
  double backbone_s = 0, head_s = 0;
};

// Callbacks; any of them may be empty. Returning false stops the generation. A tensor is valid during the call: it may
// belong to LibTorch's inference mode, so copy what is kept.
struct SampleHooks {
  // After outer step k: the full-band prediction (B, C, H, W), before the filter; of raster and next-scale the picture
  // so far.
  std::function<bool(int64_t k, const Tensor& latents)> on_outer_step;
  // After outer step k: what the filter leaves for the next step to see, before tokens are hidden (B, C, H, W).
  std::function<void(int64_t k, const Tensor& latents)> on_filtered;
  // After each evaluation of the head, counted over the whole plan; after all of a step where they run as one graph.
  std::function<bool(int64_t done, int64_t total)> on_inner_step;
  // The tokens entering outer step k, hidden ones zero: (B, L, C). Of next-scale, those of the picture so far.
  std::function<void(int64_t k, const Tensor& tokens)> on_input;
  SampleTimes* times = nullptr;  // seconds are added here; each part then waits for the device
};

// A model's parts as the engine executes them, kept from one generation to the next.
struct SamplerParts {
  SamplerParts(const FarModel& model, const Execution& execution)
      : model(model), transformer(model, execution), inner_loop(model.head(), execution) {}
  const FarModel& model;
  TransformerPass transformer;
  InnerLoop inner_loop;
  std::map<FilterType, Lowpass> lowpass;
};

// Thrown where a hook returned false.
struct GenerationStopped {};

class Generation {
 public:
  // `condition` is (B, *, D). All arguments must outlive it.
  Generation(SamplerParts& parts, const Plan& plan, const Tensor& condition, const NoiseSource& noise,
             const SampleHooks& hooks);

  const Plan& plan() const { return plan_; }
  const ModelConfig& model() const { return parts_.model.config(); }
  // The tokens before the first step (B, L, C): zeros where nothing is known, else those of plan.start.
  Tensor start();
  // z of step k: (B, L, D), or (2B, L, D) where it is guided, the unconditional ones last.
  Tensor transformer(int64_t k, const Tensor& tokens);
  // The same of a sequence (model/sequence.h), whose steps are taken in their order: step k's inputs (B, n, C), for the
  // first none -> (B or 2B, n, D).
  Tensor step(int64_t k, const Tensor& inputs);
  // The tokens that step k samples from z (*, L, D): (B, L, C). Others are taken from `kept`, or zero.
  Tensor head(int64_t k, const Tensor& z, const Tensor& kept = {});
  // The tokens with those that plan.start knows in their place.
  Tensor keep_known(const Tensor& tokens) const;
  // The low-pass of tokens at a level.
  Tensor lowpass(const Tensor& tokens, int64_t level) const;
  // Zero for the `masked` tokens that stay hidden, in each image's own order.
  Tensor hide(const Tensor& tokens, int64_t masked) const;

  void on_input(int64_t k, const Tensor& tokens) const;
  // Throws where a token is not finite.
  void on_prediction(int64_t k, const Tensor& tokens) const;
  void on_filtered(int64_t k, const Tensor& tokens) const;

 private:
  // Rows, as indices into B * L, of the positions at the places first .. end - 1 of each image's order.
  Tensor rows_at(int64_t first, int64_t end) const;
  double lap_s(const Tensor& waited_for);

  SamplerParts& parts_;
  const Plan& plan_;
  const Lowpass& lowpass_;
  const Tensor& condition_;
  const NoiseSource& noise_;
  const SampleHooks& hooks_;
  int64_t batch_, tokens_;
  bool guided_;   // any step
  Tensor null_;   // the unconditional condition (B, *, D)
  Tensor cache_;  // of a sequence: keys and values of the steps so far
  Tensor order_,
      place_;  // (B, L) position at each place of the order, and place of each position; undefined without masks
  int64_t total_inner_, done_inner_ = 0;
  double last_lap_s_ = 0;
};

}  // namespace crescendo
