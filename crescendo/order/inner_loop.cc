#include "crescendo/order/inner_loop.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/torch_compat.h"

namespace crescendo {

namespace {

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

}  // namespace

InnerLoop::InnerLoop(const Head& head, Execution execution) : head_(head), recordings_(std::move(execution.graphs)) {
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
  const auto key = one ? std::pair<int64_t, int64_t>{} : std::pair{rows, weights_->chunk_of(rows, inner_steps)};
  return fused_.try_emplace(key, weights_->with_own_buffers()).first->second;
}

Tensor InnerLoop::evaluate(const Step& step, Solver solver, const Tensor& numbers, const Tensor& z, const Tensor& x_T,
                           const StepNoiseFn& noise, const std::function<void(int64_t n)>& on_evaluations) {
  // In low precision the products that stay in fp32 need not be more exact than a GPU's TF32 makes them, at a multiple
  // of the speed.
  const Tf32Products tf32(z.is_cuda() && z.scalar_type() != at::kFloat);
  const Timesteps& t = timesteps(step, solver);
  const bool guided = z.size(0) != x_T.size(0);
  const Tensor level = numbers.slice(0, 0, 1), guidance = numbers.slice(0, 1);
  const Tensor y = head_.condition(z, level.to(z.scalar_type()).view({1, 1}));  // (M or 2M, W)
  FusedHead* few_passes = weights_ ? &fused(z.size(0), step.inner_steps) : nullptr;
  if (few_passes) few_passes->begin(y, t.embedding);
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    Denoised answer;
    if (few_passes) {
      answer = guided ? few_passes->guided(x, i, guidance) : split(few_passes->forward(x, i));
    } else {
      const Tensor out = head_.forward(guided ? at::cat({x, x}) : x, y + t.embedding[i]).to(at::kFloat);
      answer = guided ? guide(out, guidance) : split(out);
    }
    on_evaluations(1);
    return answer;
  };
  return solve(solver, denoise, t.schedule, x_T, noise, step.temperature);
}

Tensor InnerLoop::run(const Step& step, Solver solver, const Tensor& z, const Tensor& x_T, const StepsNoiseFn& noise,
                      const std::function<void(int64_t n)>& on_evaluations) {
  const auto options = x_T.options();
  const Tensor numbers = at::cat({at::full({1}, step.level, options), at::full({1}, step.guidance, options)});
  if (weights_) {
    const auto inputs = [&]() -> std::vector<Tensor> {
      const bool noisy = adds_noise(solver) && step.inner_steps > 1;
      return {numbers, z, x_T, noisy ? noise(0, step.inner_steps - 1) : Tensor()};
    };
    const auto work = [this, step, solver](const std::vector<Tensor>& in) {
      return evaluate(
          step, solver, in[0], in[1], in[2], [&](int64_t n) { return in[3][n]; }, [](int64_t) {});
    };
    const Key key{spacing(step, solver), step.temperature, z.size(0), x_T.size(0)};
    if (const auto tokens = recordings_.run(key, z.device(), inputs, work)) {
      on_evaluations(step.inner_steps);
      return *tokens;
    }
  }
  Drawn drawn(noise, step.inner_steps, x_T.numel());
  return evaluate(
      step, solver, numbers, z, x_T, [&](int64_t n) { return drawn(n); }, on_evaluations);
}

}  // namespace crescendo
