#include "crescendo/order/inner_loop.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <exception>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

namespace {

// Graphs that are kept: many plans' worth. Beyond, all are made anew.
constexpr size_t kMostGraphs = 256;

// The noise of an outer step, drawn for as many inner steps at once as take little memory.
class Drawn {
 public:
  Drawn(const StepsNoiseFn& source, int64_t inner_steps, int64_t numbers_a_step)
      : source_(source),
        noisy_steps_(inner_steps - 1),  // the last adds none
        at_once_(std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, numbers_a_step))) {}
  Tensor operator()(int64_t n) {  // (M, C)
    if (!drawn_.defined() || n < first_ || n >= first_ + drawn_.size(0)) {
      drawn_ = source_(n, std::clamp<int64_t>(noisy_steps_ - n, 1, at_once_));
      first_ = n;
    }
    return drawn_[n - first_];
  }

 private:
  static constexpr int64_t kNumbers = 1 << 24;
  const StepsNoiseFn& source_;
  int64_t noisy_steps_, at_once_, first_ = 0;
  Tensor drawn_;
};

// eps = u + s (c - u) of output (2M, 2C), conditional rows first: (M, C).
Tensor guide(const Tensor& output, double scale) {
  const auto rows_each = output.size(0) / 2, channels = output.size(1) / 2;
  if (!rows::serves(output.device()) || !output.is_contiguous()) {
    const auto eps = output.slice(1, 0, channels).chunk(2, 0);
    return eps[1] + scale * (eps[0] - eps[1]);
  }
  const Tensor eps = at::empty({rows_each, channels}, output.options());
  const float* cond = output.data_ptr<float>();
  rows::run(rows::Guide{rows_each, channels, cond, cond + rows_each * 2 * channels, 2 * channels,
                        static_cast<float>(scale), eps.data_ptr<float>()},
            output.device());
  return eps;
}

}  // namespace

InnerLoop::InnerLoop(const Head& head, Execution execution) : head_(head), graphs_(std::move(execution.graphs)) {
  const bool few_passes = !execution.plain && FusedHead::serves(head);
  check_usage(few_passes || !execution.int8, "int8 needs the head in fp32 or bf16, on a CPU, and not as it is written");
  if (few_passes) weights_.emplace(head, execution.int8);
}

void InnerLoop::prepare(const Plan& plan) {
  for (const Step& step : plan.steps) timesteps(step, plan.solver);
}

InnerLoop::Spacing InnerLoop::spacing(const Step& step, Solver solver) {
  return {solver, step.inner_steps, step.start_timestep, step.end_timestep};
}

const InnerLoop::Timesteps& InnerLoop::timesteps(const Step& step, Solver solver) {
  const auto [entry, is_new] = timesteps_.try_emplace(spacing(step, solver));
  Timesteps& t = entry->second;
  if (is_new) {
    t.schedule = solver_schedule(solver, step.inner_steps, step.start_timestep, step.end_timestep);
    t.embedding = head_.time_embedding(
        at::tensor(at::ArrayRef<int64_t>(t.schedule.timesteps), at::kLong).to(head_.input_proj().weight.device()));
  }
  return t;
}

FusedHead& InnerLoop::fused(int64_t rows, int64_t inner_steps) {
  // Where nothing is put down, one set of buffers does.
  const bool one = head_.input_proj().weight.is_cpu();
  const auto key = one ? std::pair<int64_t, int64_t>{} : std::pair{rows, inner_steps};
  return fused_.try_emplace(key, weights_->with_own_buffers()).first->second;
}

Tensor InnerLoop::evaluate(const Step& step, Solver solver, const Tensor& z, const Tensor& x_T,
                           const StepNoiseFn& noise, const std::function<void(int64_t n)>& on_evaluations) {
  const Timesteps& t = timesteps(step, solver);
  const bool guided = z.size(0) != x_T.size(0);
  const Tensor y = head_.condition(z, at::full({1, 1}, step.level, z.options()));  // (M or 2M, W)
  FusedHead* few_passes = weights_ ? &fused(z.size(0), step.inner_steps) : nullptr;
  if (few_passes) few_passes->begin(y, t.embedding);
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    const Tensor out = few_passes ? few_passes->forward(x, i)
                                  : head_.forward(guided ? at::cat({x, x}) : x, y + t.embedding[i]).to(at::kFloat);
    on_evaluations(1);
    const int64_t channels = x.size(1);  // out: (M or 2M, 2C)
    const Tensor eps = guided ? guide(out, step.guidance) : out.slice(1, 0, channels);
    return {eps, out.slice(1, channels).slice(0, 0, x.size(0))};
  };
  return solve(solver, denoise, t.schedule, x_T, noise, step.temperature);
}

Tensor InnerLoop::replay(Recorded& recorded, const Step& step, Solver solver, const Tensor& z, const Tensor& x_T,
                         const StepsNoiseFn& noise) {
  const Tensor drawn =
      adds_noise(solver) && step.inner_steps > 1 ? noise(0, step.inner_steps - 1).contiguous() : Tensor();
  if (!recorded.tokens.defined()) {
    recorded.z = z.clone();
    recorded.x_T = x_T.clone();
    if (drawn.defined()) recorded.noise = drawn.clone();
    recorded.tokens = at::empty_like(recorded.x_T);
    recorded.graph->capture([this, &recorded, step, solver] {
      recorded.tokens.copy_(evaluate(
          step, solver, recorded.z, recorded.x_T, [&](int64_t n) { return recorded.noise[n]; }, [](int64_t) {}));
    });
  } else {
    recorded.z.copy_(z);
    recorded.x_T.copy_(x_T);
    if (drawn.defined()) recorded.noise.copy_(drawn);
  }
  recorded.graph->replay();
  return recorded.tokens.clone();
}

Tensor InnerLoop::run(const Step& step, Solver solver, const Tensor& z, const Tensor& x_T, const StepsNoiseFn& noise,
                      const std::function<void(int64_t n)>& on_evaluations) {
  const auto as_they_come = [&] {
    Drawn drawn(noise, step.inner_steps, x_T.numel());
    return evaluate(
        step, solver, z, x_T, [&](int64_t n) { return drawn(n); }, on_evaluations);
  };
  if (!weights_ || !graphs_) return as_they_come();
  if (recorded_.size() >= kMostGraphs) recorded_.clear();
  const auto [entry, first_time] = recorded_.try_emplace(
      {spacing(step, solver), step.guidance, step.temperature, step.level, z.size(0), x_T.size(0)});
  std::optional<Recorded>& recorded = entry->second;
  if (first_time) return as_they_come();
  if (!recorded) {
    auto graph = graphs_(z.device());
    if (!graph) {
      graphs_ = nullptr;  // this device has none
      return as_they_come();
    }
    recorded = Recorded{std::move(graph), {}, {}, {}, {}};
  }
  try {
    const Tensor tokens = replay(*recorded, step, solver, z, x_T, noise);
    on_evaluations(step.inner_steps);
    return tokens;
  } catch (const std::exception& e) {
    log_warning(concat("the inner steps run one by one, because no graph could be made of them: ", e.what()));
    graphs_ = nullptr;
    recorded_.clear();
    return as_they_come();
  }
}

}  // namespace crescendo
