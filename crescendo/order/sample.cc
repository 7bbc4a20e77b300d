#include "crescendo/order/sample.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/diffusion/fused_head.h"

namespace crescendo {

namespace {

struct Stopped {};

// The diffusion head, in few passes where that can be (`fused`) and else as it is.
class HeadRunner {
 public:
  HeadRunner(const Head& head, bool plain) : head_(head) {
    if (!plain && FusedHead::serves(head)) fused_.emplace(head);
  }
  // An outer step begins, for rows of condition z (M, D) at a level; what all inner steps share is computed.
  void begin(const Tensor& z, double level, const Schedule& schedule) {
    y_ = head_.condition(z, at::full({1, 1}, level, z.options()));  // (M, W)
    times_ = head_.time_embedding(at::tensor(at::ArrayRef<int64_t>(schedule.timesteps), at::kLong).to(z.device()));
    if (fused_) fused_->begin(y_, times_);
  }
  Tensor operator()(const Tensor& x, int64_t i) {
    return fused_ ? fused_->forward(x, i) : head_.forward(x, y_ + times_[i]).to(at::kFloat);  // (M, 2C)
  }

 private:
  const Head& head_;
  std::optional<FusedHead> fused_;
  Tensor y_, times_;
};

// The tokens of one outer step, at the needed rows only: z (2 or 1 times M, D), conditional first -> (M, C).
Tensor sample_tokens(HeadRunner& run_head, const Tensor& z, const Step& step, const Schedule& schedule, Solver solver,
                     Tensor x_T, const StepNoiseFn& noise, const std::function<void()>& on_evaluation) {
  const bool guided = z.size(0) != x_T.size(0);
  run_head.begin(z, step.level, schedule);
  const DenoiseFn denoise = [&](const Tensor& x, int64_t i) -> Denoised {
    const Tensor out = run_head(guided ? at::cat({x, x}) : x, i);  // (M or 2M, 2C)
    on_evaluation();
    const auto halves = out.chunk(2, 1);
    if (!guided) return {halves[0], halves[1]};
    const auto eps = halves[0].chunk(2, 0);
    return {eps[1] + step.guidance * (eps[0] - eps[1]), halves[1].slice(0, 0, x.size(0))};
  };
  return solve(solver, denoise, schedule, std::move(x_T), noise, step.temperature);
}

// The transformer where no image differs from another but by its condition (B, *, D): what is asked for several times,
// and without condition, is computed once.
Tensor first_forward(const Backbone& backbone, const Tensor& tokens, const Tensor& condition, TokenMask mask) {
  const Tensor which =
      std::get<1>(at::unique_dim(condition.flatten(1), 0, /*sorted=*/true, /*return_inverse=*/true));  // (B)
  const int64_t distinct = which.max().item<int64_t>() + 1;
  if (distinct == condition.size(0)) return backbone.forward(tokens, condition, mask);
  const Tensor one_each =
      at::zeros({distinct}, which.options()).scatter_(0, which, at::arange(which.size(0), which.options()));
  if (mask.any()) mask.missing = mask.missing.index_select(0, one_each);
  return backbone.forward(tokens.index_select(0, one_each), condition.index_select(0, one_each), mask)
      .index_select(0, which);
}

// The noise of an outer step, drawn for as many inner steps at once as take little memory. The last adds none.
class StepNoise {
 public:
  explicit StepNoise(const NoiseSource& source, int64_t numbers_a_step)
      : source_(source), at_once_(std::max<int64_t>(1, kNumbers / numbers_a_step)) {}
  Tensor operator()(int64_t k, int64_t n, int64_t inner_steps) {  // (B, L, C)
    if (k != outer_ || n < first_ || n >= first_ + drawn_.size(0)) {
      drawn_ = source_.steps(k, n, std::clamp<int64_t>(inner_steps - 1 - n, 1, at_once_));
      outer_ = k;
      first_ = n;
    }
    return drawn_[n - first_];
  }

 private:
  static constexpr int64_t kNumbers = 1 << 24;
  const NoiseSource& source_;
  int64_t at_once_, outer_ = -1, first_ = 0;
  Tensor drawn_;
};

// Seconds since the last call, when all that was asked of the device is done.
class Lap {
 public:
  double operator()(const Tensor& waited_for) {
    if (!waited_for.is_cpu()) waited_for.view(-1).slice(0, 0, 1).to(at::kCPU);
    const double now = now_s(), lap = now - last_;
    last_ = now;
    return lap;
  }

 private:
  double last_ = now_s();
};

}  // namespace

Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks, bool plain) {
  const at::NoGradGuard no_grad;
  const ModelConfig& m = model.config();
  const int64_t batch = condition.size(0), tokens_per_image = m.tokens(), channels = m.token_channels();
  const auto steps = static_cast<int64_t>(plan.steps.size());
  check(steps > 0, "sample: the plan has no steps");
  const Lowpass lowpass(m.latent_height, m.latent_width, m.levels, plan.filter);
  HeadRunner run_head(model.head(), plain);
  const Tensor null = model.backbone().null_condition(batch);
  const auto float_options = at::TensorOptions(model.device()).dtype(at::kFloat);

  // Place of each position in the order: a position is hidden while its place is below the number of masked tokens.
  const Tensor place =
      plan.random_order ? std::get<1>(at::sort(noise.order(), 1)).to(model.device()) : Tensor();  // (B, L)
  StepNoise step_noise(noise, batch * tokens_per_image * channels);
  const int64_t total_inner = plan.inner_steps();
  int64_t done_inner = 0;
  Tensor tokens = at::zeros({batch, tokens_per_image, channels}, float_options);  // x_0: nothing is known yet
  Tensor draft;                                                                   // the last prediction, full-band
  try {
    for (int64_t k = 0; k < steps; ++k) {
      const Step& step = plan.steps[static_cast<size_t>(k)];
      const bool last = k + 1 == steps;
      const int64_t masked_next = last ? 0 : plan.steps[static_cast<size_t>(k + 1)].masked;
      if (hooks.on_input) hooks.on_input(k, tokens);

      TokenMask mask;
      if (step.masked > 0) mask = {place < step.masked, tokens_per_image - step.masked, true};

      Lap lap;
      const bool guided = step.guidance != 1.0;
      const Tensor conditions = guided ? at::cat({condition, null}) : condition;  // (B or 2B, *, D)
      const auto twice = [&](const Tensor& t) { return guided ? at::cat({t, t}) : t; };
      if (mask.any()) mask.missing = twice(mask.missing);
      const Tensor input = twice(tokens.to(model.dtype()));
      const bool nothing_known = k == 0 && (step.masked == 0 || step.masked == tokens_per_image);
      const Tensor z = nothing_known && !plain ? first_forward(model.backbone(), input, conditions, mask)
                                               : model.backbone().forward(input, conditions, mask);  // (B or 2B, L, D)
      if (hooks.times) hooks.times->backbone_s += lap(z);

      // Rows whose prediction somebody reads: MAR predicts each token once; without a filter only the tokens that stay
      // visible are kept. A filter mixes neighbours, so it reads all.
      Tensor rows;  // (M) indices into B * L
      if (plan.keep_predicted)
        rows = (place < step.masked).logical_and(place >= masked_next).view(-1).nonzero().view(-1);
      else if (!step.filter && masked_next > 0)
        rows = (place >= masked_next).view(-1).nonzero().view(-1);
      const auto pick = [&](const Tensor& t) {  // (B, L, *) -> (M, *)
        const Tensor flat = t.reshape({-1, t.size(-1)});
        return rows.defined() ? flat.index_select(0, rows) : flat;
      };
      const Tensor z_rows = guided ? at::cat({pick(z.slice(0, 0, batch)), pick(z.slice(0, batch))}) : pick(z);

      const Schedule schedule = solver_schedule(plan.solver, step.inner_steps, step.start_timestep);
      Tensor x_T = noise.initial(k);
      if (step.draft) {
        const double signal = schedule.alpha_bar.back();
        x_T = draft * std::sqrt(signal) + x_T * std::sqrt(1 - signal);
      }
      Tensor predicted = sample_tokens(
          run_head, z_rows, step, schedule, plan.solver, pick(x_T),
          [&](int64_t n) { return pick(step_noise(k, n, step.inner_steps)); },
          [&] {
            ++done_inner;
            if (hooks.on_inner_step && !hooks.on_inner_step(done_inner, total_inner)) throw Stopped{};
          });  // (M, C)
      if (hooks.times) hooks.times->head_s += lap(predicted);
      if (rows.defined()) {
        const Tensor base = plan.keep_predicted ? tokens.reshape({-1, channels})
                                                : at::zeros({batch * tokens_per_image, channels}, float_options);
        predicted = base.index_copy(0, rows, predicted);
      }
      tokens = draft = predicted.view({batch, tokens_per_image, channels});

      if (hooks.on_outer_step && !hooks.on_outer_step(k, unpatchify(tokens, m))) throw Stopped{};
      if (step.filter) tokens = patchify(lowpass(unpatchify(tokens, m), *step.filter), m.patch);
      if (masked_next > 0 && !plan.keep_predicted) tokens = tokens.masked_fill((place < masked_next).unsqueeze(2), 0.0);
    }
  } catch (const Stopped&) {
    return {};
  }
  return unpatchify(tokens, m);
}

}  // namespace crescendo
