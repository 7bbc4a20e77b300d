#include "crescendo/order/sample.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/log.h"
#include "crescendo/order/parts.h"

namespace crescendo {

namespace {

struct Stopped {};

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

// Weights up to which a second, packed copy is no burden, and several threads may read all of them at once.
constexpr int64_t kMostPackedBytes = 128 << 20;

// Parts of the images, where every thread gets as many or nearly so.
int64_t image_parts(const Tensor& tokens) {
  constexpr int64_t kRows = 256;  // tokens of a part, whose numbers stay in the second cache
  const int64_t images = tokens.size(0), threads = at::get_num_threads();
  const bool even = images % threads == 0 || images >= 4 * threads;
  if (!tokens.is_cpu() || !even || at::in_parallel_region()) return 1;
  return parts_of(images, threads, std::max<int64_t>(1, kRows / std::max<int64_t>(1, tokens.size(1))));
}

}  // namespace

Sampler::Sampler(const FarModel& model, Execution execution)
    : model_(model),
      plain_(execution.plain),
      small_(!plain_ && model.params().bytes() <= kMostPackedBytes),
      backbone_(plain_ ? model.backbone()
                       : model.backbone().prepared(execution.int8 ? Products::kInt8
                                                   : small_       ? Products::kPacked
                                                                  : Products::kStrassen)),
      passes_(plain_ ? GraphFactory() : execution.graphs),
      inner_loop_(model.head(), std::move(execution)) {}

// The transformer, whose masks, if any, hide as many tokens of every image: tokens (B, L, C), condition (B, *, D).
Tensor Sampler::forward(const Tensor& tokens, const Tensor& condition, const TokenMask& mask) {
  const auto inputs = [&]() -> std::vector<Tensor> { return {tokens, condition, mask.missing}; };
  const auto work = [this, visible = mask.visible, even = mask.even](const std::vector<Tensor>& in) {
    return backbone_.forward(in[0], in[1], {in[2], visible, even});
  };
  const auto z = passes_.run({tokens.size(0), mask.any() ? mask.visible : -1}, tokens.device(), inputs, work);
  if (z) return *z;
  const int64_t batch = tokens.size(0), parts = small_ ? image_parts(tokens) : 1;
  if (parts == 1) return work(inputs());
  std::vector<Tensor> results(static_cast<size_t>(parts));
  in_parts(batch, parts, [&](int64_t part, int64_t first, int64_t end) {
    const auto own = [&](const Tensor& t) { return t.defined() ? t.slice(0, first, end) : t; };
    results[static_cast<size_t>(part)] = work({own(tokens), own(condition), own(mask.missing)});
  });
  return at::cat(results);
}

// The transformer where no image differs from another but by its condition (B, *, D): what is asked for several times,
// and without condition, is computed once, and not at all where the call before asked the same.
Tensor Sampler::first_forward(const Tensor& tokens, const Tensor& condition, TokenMask mask) {
  // On the CPU, as sorting a few rows takes a GPU milliseconds.
  const Tensor asked = condition.flatten(1).to(at::kCPU);
  const Tensor which = std::get<1>(at::unique_dim(asked, 0, /*sorted=*/true, /*return_inverse=*/true));  // (B)
  const int64_t distinct = which.max().item<int64_t>() + 1;
  const Tensor one_each =
      at::zeros({distinct}, which.options()).scatter_(0, which, at::arange(which.size(0), which.options()));
  const Tensor conditions = asked.index_select(0, one_each);
  if (!first_ || first_->masked != mask.any() || !at::equal(first_->conditions, conditions)) {
    const Tensor rows = one_each.to(condition.device());
    if (mask.any()) mask.missing = mask.missing.index_select(0, rows);
    first_ =
        First{conditions, forward(tokens.index_select(0, rows), condition.index_select(0, rows), mask), mask.any()};
  }
  return first_->z.index_select(0, which.to(condition.device()));
}

Tensor Sampler::sample(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks) {
  Tensor latents;
  {
    const at::NoGradGuard no_grad;
    // It spares much of what a small operation costs, which shows where nothing else takes long.
    std::optional<c10::InferenceMode> inference;
    if (model_.device().is_cpu()) inference.emplace();
    latents = execute(condition, plan, noise, hooks);
  }
  return latents.defined() && latents.is_inference() ? latents.clone() : latents;  // a tensor like any other
}

Tensor Sampler::execute(const Tensor& condition, const Plan& plan, const NoiseSource& noise, const SampleHooks& hooks) {
  const ModelConfig& m = model_.config();
  const int64_t batch = condition.size(0), tokens_per_image = m.tokens(), channels = m.token_channels();
  const auto steps = static_cast<int64_t>(plan.steps.size());
  check(steps > 0, "sample: the plan has no steps");
  const Lowpass& lowpass =
      lowpass_.try_emplace(plan.filter, m.latent_height, m.latent_width, m.levels, plan.filter, model_.device())
          .first->second;
  inner_loop_.prepare(plan);
  const Tensor null = model_.backbone().null_condition(batch);
  const auto float_options = at::TensorOptions(model_.device()).dtype(at::kFloat);

  // Position at each place of the order, and place of each position: a position is hidden while its place is below the
  // number of masked tokens.
  const Tensor order = plan.random_order ? noise.order().to(model_.device()) : Tensor();  // (B, L)
  const Tensor place = plan.random_order ? std::get<1>(at::sort(order, 1)) : Tensor();    // (B, L)
  // Rows, as indices into B * L, of the positions whose place is in first .. end - 1: known without asking the device.
  const Tensor first_row = at::arange(batch, float_options.dtype(at::kLong)).unsqueeze(1) * tokens_per_image;  // (B, 1)
  const auto rows_at = [&](int64_t first, int64_t end) {
    return (std::get<0>(at::sort(order.slice(1, first, end), 1)) + first_row).view(-1);
  };
  const int64_t total_inner = plan.inner_steps();
  int64_t done_inner = 0;
  Tensor tokens = at::zeros({batch, tokens_per_image, channels}, float_options);  // x_0: nothing is known yet
  Tensor draft;                                                                   // the last prediction, full-band
  Tensor difference;  // (B, L, D), of the transformer's answer without condition from the one with it
  try {
    for (int64_t k = 0; k < steps; ++k) {
      const Step& step = plan.steps[static_cast<size_t>(k)];
      const bool last = k + 1 == steps;
      const int64_t masked_next = last ? 0 : plan.steps[static_cast<size_t>(k + 1)].masked;
      if (hooks.on_input) hooks.on_input(k, tokens);

      TokenMask mask;
      if (step.masked > 0) mask = {place < step.masked, tokens_per_image - step.masked, true};

      Lap lap;
      const bool guided = step.guidance != 1.0, ask_both = guided && !step.kept_difference;
      const Tensor conditions = ask_both ? at::cat({condition, null}) : condition;  // (B or 2B, *, D)
      const auto twice = [&](const Tensor& t) { return ask_both ? at::cat({t, t}) : t; };
      if (mask.any()) mask.missing = twice(mask.missing);
      const Tensor input = twice(tokens.to(model_.dtype()));
      const bool nothing_known = k == 0 && (step.masked == 0 || step.masked == tokens_per_image);
      Tensor z = nothing_known && !plain_ ? first_forward(input, conditions, mask)
                                          : forward(input, conditions, mask);  // (B or 2B, L, D)
      if (ask_both) {
        difference = z.slice(0, batch) - z.slice(0, 0, batch);
      } else if (guided) {
        check(difference.defined(), "sample: outer step ", k, " keeps a difference that no step before it has");
        z = at::cat({z, z + difference});
      }
      if (hooks.times) hooks.times->backbone_s += lap(z);

      // Rows whose prediction somebody reads: MAR predicts each token once; without a filter only the tokens that stay
      // visible are kept. A filter mixes neighbours, so it reads all.
      Tensor rows;  // (M) indices into B * L
      if (plan.keep_predicted)
        rows = rows_at(masked_next, step.masked);
      else if (!step.filter && masked_next > 0)
        rows = rows_at(masked_next, tokens_per_image);
      const auto pick = [&](const Tensor& t) {  // (B, L, *) -> (M, *)
        const Tensor flat = t.reshape({-1, t.size(-1)});
        return rows.defined() ? flat.index_select(0, rows) : flat;
      };
      const Tensor z_rows = guided ? at::cat({pick(z.slice(0, 0, batch)), pick(z.slice(0, batch))}) : pick(z);

      Tensor x_T = noise.initial(k);
      if (step.draft) {
        const double signal = inner_loop_.start_alpha_bar(step, plan.solver);
        x_T = draft * std::sqrt(signal) + x_T * std::sqrt(1 - signal);
      }
      const StepsNoiseFn step_noise = [&](int64_t n, int64_t count) {  // (count, M, C)
        const Tensor drawn = noise.steps(k, n, count).reshape({count, -1, channels});
        return rows.defined() ? drawn.index_select(1, rows) : drawn;
      };
      Tensor predicted = inner_loop_.run(step, plan.solver, z_rows, pick(x_T), step_noise, [&](int64_t n) {
        done_inner += n;
        if (hooks.on_inner_step && !hooks.on_inner_step(done_inner, total_inner)) throw Stopped{};
      });  // (M, C)
      if (hooks.times) hooks.times->head_s += lap(predicted);
      if (rows.defined()) {
        const Tensor base = plan.keep_predicted ? tokens.reshape({-1, channels})
                                                : at::zeros({batch * tokens_per_image, channels}, float_options);
        predicted = base.index_copy(0, rows, predicted);
      }
      tokens = draft = predicted.view({batch, tokens_per_image, channels});
      check(all_finite(tokens), "the latents are NaN or infinite after outer step ", k + 1, " of ", steps,
            ", whose guidance is ", step.guidance, " and temperature ", step.temperature,
            "; a lower --cfg or --temperature may help, else look at the weights and at what was given");

      if (hooks.on_outer_step && !hooks.on_outer_step(k, unpatchify(tokens, m))) throw Stopped{};
      if (step.filter) tokens = patchify(lowpass(unpatchify(tokens, m), *step.filter), m.patch);
      if (hooks.on_filtered) hooks.on_filtered(k, unpatchify(tokens, m));
      if (masked_next > 0 && !plan.keep_predicted) tokens = tokens.masked_fill((place < masked_next).unsqueeze(2), 0.0);
    }
  } catch (const Stopped&) {
    return {};
  }
  return unpatchify(tokens, m);
}

Tensor sample(const FarModel& model, const Tensor& condition, const Plan& plan, const NoiseSource& noise,
              const SampleHooks& hooks, Execution execution) {
  return Sampler(model, std::move(execution)).sample(condition, plan, noise, hooks);
}

}  // namespace crescendo
