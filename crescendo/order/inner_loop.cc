#include "crescendo/order/inner_loop.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "crescendo/core/check.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/order/parts.h"

namespace crescendo {

namespace {

// The noise of an outer step, drawn for as many inner steps at once as take little memory. For several threads, which
// are at different steps.
class Drawn {
 public:
  Drawn(const StepsNoiseFn& source, int64_t inner_steps, int64_t numbers_a_step)
      : source_(source),
        noisy_steps_(inner_steps - 1),  // the last adds none
        at_once_(std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, numbers_a_step))) {}
  Tensor operator()(int64_t n) {  // (M, C)
    const std::scoped_lock lock(mutex_);
    const int64_t chunk = n / at_once_;
    if (now_.chunk != chunk) {
      std::swap(now_, before_);  // another thread may be a chunk behind
      if (now_.chunk != chunk)
        now_ = {chunk, source_(chunk * at_once_, std::min(noisy_steps_ - chunk * at_once_, at_once_))};
    }
    return now_.noise[n - chunk * at_once_];
  }
  bool all_at_once() const { return at_once_ >= noisy_steps_; }

 private:
  static constexpr int64_t kNumbers = 1 << 24;
  struct Chunk {
    int64_t chunk = -1;
    Tensor noise;
  };
  const StepsNoiseFn& source_;
  int64_t noisy_steps_, at_once_;
  std::mutex mutex_;
  Chunk now_, before_;
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

FusedHead* InnerLoop::fused(const Work& work, int64_t thread) {
  if (!weights_) return nullptr;
  const int64_t rows = work.z.size(0);
  const auto key = work.z.is_cpu() ? std::pair{thread, int64_t{0}}
                                   : std::pair{rows, weights_->chunk_of(rows, work.step.inner_steps)};
  return &fused_.try_emplace(key, weights_->with_own_buffers()).first->second;
}

Tensor InnerLoop::evaluate(const Work& work, FusedHead* few_passes) {
  const auto& [step, solver, t, numbers, z, x_T, noise, _] = work;
  // In low precision the products that stay in fp32 need not be more exact than a GPU's TF32 makes them, at a multiple
  // of the speed.
  const Tf32Products tf32(z.is_cuda() && z.scalar_type() != at::kFloat);
  const bool guided = z.size(0) != x_T.size(0);
  const Tensor level = numbers.slice(0, 0, 1), guidance = numbers.slice(0, 1);
  const Tensor y = head_.condition(z, level.to(z.scalar_type()).view({1, 1}));  // (M or 2M, W)
  if (few_passes) few_passes->begin(y, t.embedding);
  // Of `work` by its name, as Clang 14 captures no bindings.
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    Denoised answer;
    if (few_passes) {
      answer = guided ? few_passes->guided(x, i, guidance) : split(few_passes->forward(x, i));
    } else {
      const Tensor out = head_.forward(guided ? at::cat({x, x}) : x, y + work.timesteps.embedding[i]).to(at::kFloat);
      answer = guided ? guide(out, guidance) : split(out);
    }
    work.on_evaluations(1);
    return answer;
  };
  return solve(solver, denoise, t.schedule, x_T, noise, step.temperature);
}

int64_t InnerLoop::row_parts(const Work& work, bool several_each) const {
  constexpr int64_t kLeast = 8, kMost = 128;  // rows that pay for reading all weights, and that stay in a cache
  const int64_t rows = work.z.size(0);
  if (!work.z.is_cpu() || !weights_ || !weights_->narrow() || at::in_parallel_region()) return 1;
  const int64_t threads =
      std::clamp<int64_t>(rows / kLeast, 1, std::min<int64_t>(at::get_num_threads(), work.x_T.size(0)));
  return several_each ? parts_of(rows, threads, kMost) : threads;
}

Tensor InnerLoop::evaluate_in_parts(const Work& work, int64_t parts) {
  const int64_t rows = work.x_T.size(0), conditions = work.z.size(0) / rows, threads = at::get_num_threads(),
                each = (parts + threads - 1) / threads;
  std::vector<FusedHead*> heads;
  for (int64_t thread = 0; thread < std::min(threads, parts); ++thread) heads.push_back(fused(work, thread + 1));
  if (adds_noise(work.solver) && work.step.inner_steps > 1) work.noise(0);  // by all threads
  std::vector<Tensor> results(static_cast<size_t>(parts));
  std::atomic<bool> given_up = false;
  struct GivenUp {};
  int64_t evaluations = 0;  // of the calling thread's parts, which stand for all
  in_parts(rows, parts, [&](int64_t part, int64_t first, int64_t end) {
    const auto own = [&](const Tensor& t) { return t.slice(0, first, end); };
    Work mine{work.step, work.solver, work.timesteps, work.numbers, own(work.z), own(work.x_T), {}, {}};
    if (conditions == 2) mine.z = at::cat({mine.z, own(work.z.slice(0, rows))});
    mine.noise = [&](int64_t n) { return own(work.noise(n)); };
    mine.on_evaluations = [&, part](int64_t n) {
      if (given_up) throw GivenUp{};
      if (part >= each) return;
      const int64_t told = evaluations / each;
      evaluations += n;
      if (evaluations / each > told) work.on_evaluations(evaluations / each - told);
    };
    try {
      results[static_cast<size_t>(part)] = evaluate(mine, heads[static_cast<size_t>(at::get_thread_num())]);
    } catch (const GivenUp&) {
    } catch (...) {
      given_up = true;
      throw;
    }
  });
  return at::cat(results);
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
    const auto all = [this, step, solver](const std::vector<Tensor>& in) {
      const Work work{
          step,          solver, timesteps(step, solver), in[0], in[1], in[2], [&](int64_t n) { return in[3][n]; },
          [](int64_t) {}};
      return evaluate(work, fused(work));
    };
    const Key key{spacing(step, solver), step.temperature, z.size(0), x_T.size(0)};
    if (const auto tokens = recordings_.run(key, z.device(), inputs, all)) {
      on_evaluations(step.inner_steps);
      return *tokens;
    }
  }
  Drawn drawn(noise, step.inner_steps, x_T.numel());
  const Work work{step,          solver, timesteps(step, solver), numbers, z, x_T, [&](int64_t n) { return drawn(n); },
                  on_evaluations};
  // Noise that is drawn piece by piece is drawn once, for all rows of a thread.
  const int64_t parts = row_parts(work, /*several_each=*/!adds_noise(solver) || drawn.all_at_once());
  if (weights_ && z.is_cpu()) weights_->pack_for(z.size(0) / parts);
  return parts > 1 ? evaluate_in_parts(work, parts) : evaluate(work, fused(work));
}

}  // namespace crescendo
