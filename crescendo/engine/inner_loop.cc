#include "crescendo/engine/inner_loop.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "crescendo/core/check.h"
#include "crescendo/core/torch_compat.h"
#include "crescendo/engine/row_partition.h"

namespace crescendo {

namespace {

// The noise of an outer step, drawn for a window of inner steps at a time, which bounds the memory. Thread-safe:
// threads may be at different inner steps.
class NoiseWindow {
 public:
  NoiseWindow(const StepsNoiseFn& source, int64_t inner_steps, int64_t elements_per_step)
      : source_(source),
        noisy_steps_(inner_steps - 1),  // the last adds none
        size_(std::max<int64_t>(1, kMaxElements / std::max<int64_t>(1, elements_per_step))) {}
  Tensor operator()(int64_t n) {  // (M, C)
    const std::scoped_lock lock(mutex_);
    const int64_t index = n / size_;
    if (current_.index != index) {
      std::swap(current_, previous_);  // another thread may be a window behind
      if (current_.index != index)
        current_ = {index, source_(index * size_, std::min(noisy_steps_ - index * size_, size_))};
    }
    return current_.noise[n - index * size_];
  }
  bool holds_all() const { return size_ >= noisy_steps_; }

 private:
  static constexpr int64_t kMaxElements = 1 << 24;
  struct Window {
    int64_t index = -1;
    Tensor noise;
  };
  const StepsNoiseFn& source_;
  int64_t noisy_steps_, size_;
  std::mutex mutex_;
  Window current_, previous_;
};

}  // namespace

InnerLoop::InnerLoop(const Head& head, Execution execution) : head_(head), graphs_(std::move(execution.graphs)) {
  const bool serves = !execution.plain && FusedHead::serves(head);
  check_usage(serves || !execution.int8, "int8 needs a model in fp32 or bf16 on a CPU, and not the plain execution");
  if (serves) weights_.emplace(head, execution.int8);
}

const InnerLoop::Timesteps& InnerLoop::timesteps(const HeadStep& step) {
  const auto [entry, is_new] = timesteps_.try_emplace({step.solver, step.spacing});
  Timesteps& t = entry->second;
  if (is_new) {
    t.schedule = solver_schedule(step.solver, step.spacing);
    t.embedding = head_.time_embedding(
        at::tensor(at::ArrayRef<int64_t>(t.schedule.timesteps), at::kLong).to(head_.input_proj().weight.device()));
  }
  return t;
}

FusedHead* InnerLoop::fused(const Work& work, int64_t thread) {
  if (!weights_) return nullptr;
  const int64_t rows = work.z.size(0);
  const auto key = work.z.is_cpu() ? std::pair{thread, int64_t{0}}
                                   : std::pair{rows, weights_->chunk_of(rows, work.step.spacing.steps)};
  return &fused_.try_emplace(key, weights_->with_own_buffers()).first->second;
}

Tensor InnerLoop::evaluate(const Work& work, FusedHead* fused) {
  const Tensor &z = work.z, &x_T = work.x_T;
  // In low precision TF32 is exact enough for the products that stay in fp32, and several times as fast.
  const Tf32Products tf32(z.is_cuda() && z.scalar_type() != at::kFloat);
  const bool guided = z.size(0) != x_T.size(0);
  const Tensor level = work.level_and_guidance.slice(0, 0, 1), s = work.level_and_guidance.slice(0, 1);
  const Tensor y = head_.condition(z, level.to(z.scalar_type()).view({1, 1}));  // (M or 2M, W)
  if (fused) fused->begin(y, work.timesteps.embedding);
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    Denoised output;
    if (fused) {
      output = guided ? fused->guided(x, i, s) : plain_output(fused->forward(x, i));
    } else {
      const Tensor out = head_.forward(guided ? at::cat({x, x}) : x, y + work.timesteps.embedding[i]).to(at::kFloat);
      output = guided ? guided_output(out, s) : plain_output(out);
    }
    work.on_evaluations(1);
    return output;
  };
  return run_solver(work.step.solver, denoise, work.timesteps.schedule, x_T, work.noise, work.step.temperature);
}

int64_t InnerLoop::row_ranges(const Work& work, bool several_per_thread) const {
  constexpr int64_t kLeast = 8, kMost = 128;  // rows that pay for reading all weights, and that stay in a cache
  const int64_t rows = work.z.size(0);
  if (!work.z.is_cpu() || !weights_ || !weights_->is_small() || at::in_parallel_region()) return 1;
  const int64_t threads =
      std::clamp<int64_t>(rows / kLeast, 1, std::min<int64_t>(at::get_num_threads(), work.x_T.size(0)));
  return several_per_thread ? partition_count(rows, threads, kMost) : threads;
}

Tensor InnerLoop::evaluate_by_ranges(const Work& work, int64_t ranges) {
  const int64_t rows = work.x_T.size(0), conditions = work.z.size(0) / rows, threads = at::get_num_threads(),
                per_thread = (ranges + threads - 1) / threads;
  std::vector<FusedHead*> heads;
  for (int64_t thread = 0; thread < std::min(threads, ranges); ++thread) heads.push_back(fused(work, thread + 1));
  if (adds_noise(work.step.solver) && work.step.spacing.steps > 1) work.noise(0);  // drawn by all threads together
  std::vector<Tensor> results(static_cast<size_t>(ranges));
  std::atomic<bool> cancelled = false;
  struct Cancelled {};
  int64_t evaluations = 0;  // of the calling thread's ranges, which stand for all
  for_each_range(rows, ranges, [&](int64_t range, int64_t first, int64_t end) {
    const auto own = [&](const Tensor& t) { return t.slice(0, first, end); };
    Work mine{work.step, work.timesteps, work.level_and_guidance, own(work.z), own(work.x_T), {}, {}};
    if (conditions == 2) mine.z = at::cat({mine.z, own(work.z.slice(0, rows))});
    mine.noise = [&](int64_t n) { return own(work.noise(n)); };
    mine.on_evaluations = [&, range](int64_t n) {
      if (cancelled) throw Cancelled{};
      if (range >= per_thread) return;
      const int64_t told = evaluations / per_thread;
      evaluations += n;
      if (evaluations / per_thread > told) work.on_evaluations(evaluations / per_thread - told);
    };
    try {
      results[static_cast<size_t>(range)] = evaluate(mine, heads[static_cast<size_t>(at::get_thread_num())]);
    } catch (const Cancelled&) {
    } catch (...) {
      cancelled = true;
      throw;
    }
  });
  return at::cat(results);
}

Tensor InnerLoop::run(const HeadStep& step, const Tensor& z, const Tensor& x_T, const StepsNoiseFn& noise,
                      const std::function<void(int64_t n)>& on_evaluations) {
  const auto options = x_T.options();
  const Tensor level_and_guidance =
      at::cat({at::full({1}, step.level, options), at::full({1}, step.guidance, options)});
  const int64_t steps = step.spacing.steps;
  if (weights_) {
    const auto inputs = [&]() -> std::vector<Tensor> {
      return {level_and_guidance, z, x_T, adds_noise(step.solver) && steps > 1 ? noise(0, steps - 1) : Tensor()};
    };
    const auto all = [this, step](const std::vector<Tensor>& in) {
      const Work work{step, timesteps(step), in[0], in[1], in[2], [&](int64_t n) { return in[3][n]; }, [](int64_t) {}};
      return evaluate(work, fused(work));
    };
    const Key key{step.solver, step.spacing, step.temperature, z.size(0), x_T.size(0)};
    if (const auto tokens = graphs_.run(key, z.device(), inputs, all)) {
      on_evaluations(steps);
      return *tokens;
    }
  }
  NoiseWindow window(noise, steps, x_T.numel());
  const Work work{step,          timesteps(step), level_and_guidance, z, x_T, [&](int64_t n) { return window(n); },
                  on_evaluations};
  // Noise that comes in several windows is drawn once, so each thread takes all of its rows at once.
  const int64_t ranges = row_ranges(work, /*several_per_thread=*/!adds_noise(step.solver) || window.holds_all());
  return ranges > 1 ? evaluate_by_ranges(work, ranges) : evaluate(work, fused(work));
}

}  // namespace crescendo
