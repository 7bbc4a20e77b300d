// The inner steps of an outer step: conditions z -> tokens, by the diffusion head and a solver (paper, section 4.2).
//
// On a CPU each thread takes a range of the rows through all inner steps, no more at once than stay in its cache. On a
// GPU all inner steps of an outer step become one graph (engine/graph_cache.h).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <tuple>

#include "crescendo/engine/execution.h"
#include "crescendo/engine/fused_head.h"
#include "crescendo/engine/graph_cache.h"
#include "crescendo/engine/head_step.h"

namespace crescendo {

// The noise of inner steps n .. n + count - 1: (count, M, C).
using StepsNoiseFn = std::function<Tensor(int64_t n, int64_t count)>;

class InnerLoop {
 public:
  // The head must outlive it.
  explicit InnerLoop(const Head& head, Execution execution = {});

  // Builds a step's tables, which waits for the device: call it for all steps before the first of them runs.
  void prepare(const HeadStep& step) { timesteps(step); }
  // Noise x_T (M, C) to tokens (M, C), for conditions z (M, D), or (2M, D) where the step is guided: the unconditional
  // ones after the conditional ones. `on_evaluations(n)` is called on the calling thread when n more evaluations of the
  // head are done or under way; an exception from it ends the work.
  Tensor run(const HeadStep& step, const Tensor& z, const Tensor& x_T, const StepsNoiseFn& noise,
             const std::function<void(int64_t n)>& on_evaluations);

 private:
  struct Timesteps {
    Schedule schedule;
    Tensor embedding;  // (T, W)
  };
  // Solver, spacing, temperature, and rows of z and x_T.
  using Key = std::tuple<Solver, Spacing, double, int64_t, int64_t>;
  const Timesteps& timesteps(const HeadStep& step);
  // An outer step of some rows.
  struct Work {
    const HeadStep& step;
    const Timesteps& timesteps;
    Tensor level_and_guidance;  // on the device: (2)
    Tensor z, x_T;              // (M or 2M, D), (M, C)
    StepNoiseFn noise;
    std::function<void(int64_t n)> on_evaluations;
  };
  // `fused` has buffers for these rows; null runs the head layer by layer.
  Tensor evaluate(const Work& work, FusedHead* fused);
  // The fused head with buffers for a graph, which keeps its addresses, or on a CPU for all rows (thread 0) or for one
  // thread's ranges (1 and on). Null where it does not serve.
  FusedHead* fused(const Work& work, int64_t thread = 0);
  int64_t row_ranges(const Work& work, bool several_per_thread) const;
  Tensor evaluate_by_ranges(const Work& work, int64_t ranges);

  const Head& head_;
  std::optional<FusedHead> weights_;
  std::map<std::pair<int64_t, int64_t>, FusedHead> fused_;  // by rows and chunk for graphs, by thread on a CPU
  std::map<std::pair<Solver, Spacing>, Timesteps> timesteps_;
  GraphCache<Key> graphs_;
};

}  // namespace crescendo
