// The inner steps of an outer step: conditions z -> tokens, by the diffusion head and a solver (paper, section 4.2).
//
// The head runs in few passes where that can be, and as it is written elsewhere. On a CPU every thread takes some of
// the rows through all inner steps, so that none waits for another between two products, and no more at once than stay
// in its cache. On a GPU all inner steps of an outer step become one graph: the first time they run as they come, the
// second time they are put down, and from then on replayed with new conditions and new noise.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <tuple>

#include "crescendo/diffusion/fused_head.h"
#include "crescendo/diffusion/solvers.h"
#include "crescendo/order/plan.h"
#include "crescendo/order/recordings.h"

namespace crescendo {

// The noise of inner steps n .. n + count - 1: (count, M, C).
using StepsNoiseFn = std::function<Tensor(int64_t n, int64_t count)>;

// How a model is computed.
struct Execution {
  bool plain = false;                     // as it is written in its own code, the reference for what is faster
  bool int8 = false;                      // transformer and head by weights in int8, on a CPU
  GraphFactory graphs = device_graphs();  // others are for tests
};

class InnerLoop {
 public:
  // The head must outlive it.
  explicit InnerLoop(const Head& head, Execution execution = {});

  // Everything of a plan that waits for the device: to be called before the first of its steps.
  void prepare(const Plan& plan);
  // How much of x_T's square is signal where a step begins: alpha_bar at its noisiest timestep.
  double start_alpha_bar(const Step& step, Solver solver) { return timesteps(step, solver).schedule.alpha_bar.back(); }
  // Noise x_T (M, C) to tokens (M, C), for conditions z (M or 2M, D): the unconditional ones after the conditional ones
  // where the step is guided. `on_evaluations(n)` is told, on the calling thread, of n evaluations of the head that are
  // done or under way; what it throws ends the work.
  Tensor run(const Step& step, Solver solver, const Tensor& z, const Tensor& x_T, const StepsNoiseFn& noise,
             const std::function<void(int64_t n)>& on_evaluations);

 private:
  struct Timesteps {
    Schedule schedule;
    Tensor embedding;  // (T, W)
  };
  // Solver and the inner steps' number, start and end.
  using Spacing = std::tuple<Solver, int64_t, int64_t, int64_t>;
  // Spacing, temperature, and rows of z and x_T.
  using Key = std::tuple<Spacing, double, int64_t, int64_t>;
  static Spacing spacing(const Step& step, Solver solver);
  const Timesteps& timesteps(const Step& step, Solver solver);
  // An outer step of some rows.
  struct Work {
    const Step& step;
    Solver solver;
    const Timesteps& timesteps;
    Tensor numbers;  // level and guidance, on the device: (2)
    Tensor z, x_T;   // (M or 2M, D), (M, C)
    StepNoiseFn noise;
    std::function<void(int64_t n)> on_evaluations;
  };
  // `few_passes` is the head with buffers for these rows, or null where it runs as it is written.
  Tensor evaluate(const Work& work, FusedHead* few_passes);
  // The head for a graph, which keeps to its buffers, or on a CPU for all rows, or for one of the threads from 1 on.
  FusedHead* fused(const Work& work, int64_t thread = 0);
  // How many parts of the rows there are, each for one thread.
  int64_t row_parts(const Work& work, bool several_each) const;
  Tensor evaluate_in_parts(const Work& work, int64_t parts);

  const Head& head_;
  std::optional<FusedHead> weights_;
  std::map<std::pair<int64_t, int64_t>, FusedHead> fused_;  // by rows and chunk for graphs, by thread on a CPU
  std::map<Spacing, Timesteps> timesteps_;
  Recordings<Key> recordings_;
};

}  // namespace crescendo
