#include "crescendo/order/generation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/log.h"

namespace crescendo {

Generation::Generation(SamplerParts& parts, const Plan& plan, const Tensor& condition, const NoiseSource& noise,
                       const SampleHooks& hooks)
    : parts_(parts),
      plan_(plan),
      lowpass_(parts.lowpass
                   .try_emplace(plan.filter, parts.model.config().latent_height, parts.model.config().latent_width,
                                parts.model.config().levels, plan.filter, parts.model.device())
                   .first->second),
      condition_(condition),
      noise_(noise),
      hooks_(hooks),
      batch_(condition.size(0)),
      tokens_(parts.model.config().tokens()),
      guided_(std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.head.guided(); })),
      null_(parts.model.conditions().null_condition(batch_)),
      total_inner_(plan.inner_steps()) {
  check(plan.size() > 0, "sample: the plan has no steps");
  for (const Step& step : plan.steps) parts.inner_loop.prepare(step.head);
  if (!plan.random_order) return;
  order_ = noise.order().to(parts.model.device());
  place_ = std::get<1>(at::sort(order_, 1));
}

Tensor Generation::start() {
  const auto options = at::TensorOptions(parts_.model.device()).dtype(at::kFloat);
  if (!plan_.start.latents.defined()) return at::zeros({batch_, tokens_, model().token_channels()}, options);
  const Tensor x = patchify(plan_.start.latents.to(options), model().patch);
  return hide(lowpass(x, plan_.start.level), plan_.steps.front().masked);
}

Tensor Generation::rows_at(int64_t first, int64_t end) const {
  const Tensor first_row = at::arange(batch_, order_.options()).unsqueeze(1) * tokens_;  // (B, 1)
  return (std::get<0>(at::sort(order_.slice(1, first, end), 1)) + first_row).view(-1);
}

Tensor Generation::transformer(int64_t k, const Tensor& tokens) {
  const Step& step = plan_.steps[static_cast<size_t>(k)];
  TokenMask mask;
  if (step.masked > 0) mask = {place_ < step.masked, tokens_ - step.masked, true};
  lap_s({});
  const bool guided = step.head.guided();
  const auto twice = [&](const Tensor& t) { return guided ? at::cat({t, t}) : t; };
  if (mask.any()) mask.missing = twice(mask.missing);
  const Tensor input = twice(tokens.to(parts_.model.dtype()));
  const Tensor conditions = guided ? at::cat({condition_, null_}) : condition_;  // (B or 2B, *, D)
  const bool nothing_known = k == 0 && !plan_.start.latents.defined() && (step.masked == 0 || step.masked == tokens_);
  const Tensor z = nothing_known ? parts_.transformer.run_shared(input, conditions, mask)
                                 : parts_.transformer.run(input, conditions, mask);
  if (hooks_.times) hooks_.times->backbone_s += lap_s(z);
  return z;
}

Tensor Generation::step(int64_t k, const Tensor& inputs) {
  lap_s({});
  // Where a step is guided the unconditional half has to have seen all before it.
  const auto twice = [&](const Tensor& t) { return guided_ && t.defined() ? at::cat({t, t}) : t; };
  const Tensor conditions = guided_ ? at::cat({condition_, null_}) : condition_;  // (B or 2B, 1, D)
  if (k == 0) cache_ = parts_.transformer.cache(conditions.size(0));
  const Tensor z = parts_.transformer.step(k, twice(inputs.defined() ? inputs.to(parts_.model.dtype()) : inputs),
                                           conditions, cache_);
  if (hooks_.times) hooks_.times->backbone_s += lap_s(z);
  return plan_.steps[static_cast<size_t>(k)].head.guided() ? z : z.slice(0, 0, batch_);
}

Tensor Generation::head(int64_t k, const Tensor& z, const Tensor& kept) {
  const Step& step = plan_.steps[static_cast<size_t>(k)];
  const int64_t tokens = z.size(1);  // L, or those of a sequence's step
  const auto [first, end] = places_read(plan_, k, tokens);
  const Tensor rows = first == 0 && end == tokens ? Tensor() : rows_at(first, end);  // (M)
  const int64_t channels = model().token_channels();
  const auto pick = [&](const Tensor& t) {  // (B, L, *) -> (M, *)
    const Tensor flat = t.reshape({-1, t.size(-1)});
    return rows.defined() ? flat.index_select(0, rows) : flat;
  };
  const Tensor z_rows = step.head.guided() ? at::cat({pick(z.slice(0, 0, batch_)), pick(z.slice(0, batch_))}) : pick(z);
  const StepsNoiseFn step_noise = [&](int64_t n, int64_t count) {  // (count, M, C)
    const Tensor drawn = noise_.steps(k, n, count).slice(2, 0, tokens).reshape({count, -1, channels});
    return rows.defined() ? drawn.index_select(1, rows) : drawn;
  };
  const Tensor sampled =
      parts_.inner_loop.run(step.head, z_rows, pick(noise_.initial(k).slice(1, 0, tokens)), step_noise, [&](int64_t n) {
        done_inner_ += n;
        if (hooks_.on_inner_step && !hooks_.on_inner_step(done_inner_, total_inner_)) throw GenerationStopped{};
      });  // (M, C)
  if (hooks_.times) hooks_.times->head_s += lap_s(sampled);
  if (!rows.defined()) return sampled.view({batch_, tokens, channels});
  const Tensor base =
      kept.defined() ? kept.reshape({-1, channels}) : at::zeros({batch_ * tokens_, channels}, sampled.options());
  return base.index_copy(0, rows, sampled).view({batch_, tokens_, channels});
}

Tensor Generation::keep_known(const Tensor& tokens) const {
  if (!plan_.start.known.defined()) return tokens;
  const Tensor known = plan_.start.known.to(tokens.device()).unsqueeze(2);  // (B, L, 1)
  return at::where(known, patchify(plan_.start.latents.to(tokens.options()), model().patch), tokens);
}

Tensor Generation::lowpass(const Tensor& tokens, int64_t level) const {
  return patchify(lowpass_(unpatchify(tokens, model()), level), model().patch);
}

Tensor Generation::hide(const Tensor& tokens, int64_t masked) const {
  return masked > 0 ? tokens.masked_fill((place_ < masked).unsqueeze(2), 0.0) : tokens;
}

void Generation::on_input(int64_t k, const Tensor& tokens) const {
  if (hooks_.on_input) hooks_.on_input(k, tokens);
}

void Generation::on_prediction(int64_t k, const Tensor& tokens) const {
  const HeadStep& step = plan_.steps[static_cast<size_t>(k)].head;
  check(all_finite(tokens), "the latents are NaN or infinite after outer step ", k + 1, " of ", plan_.size(),
        ", whose guidance is ", step.guidance, " and temperature ", step.temperature,
        "; a lower cfg or temperature may help, else look at the weights and at what was given");
  if (hooks_.on_outer_step && !hooks_.on_outer_step(k, unpatchify(tokens, model()))) throw GenerationStopped{};
}

void Generation::on_filtered(int64_t k, const Tensor& tokens) const {
  if (hooks_.on_filtered) hooks_.on_filtered(k, unpatchify(tokens, model()));
}

// Seconds since the last call, after the device has made `waited_for`.
double Generation::lap_s(const Tensor& waited_for) {
  if (!hooks_.times) return 0;
  if (waited_for.defined() && !waited_for.is_cpu()) waited_for.view(-1).slice(0, 0, 1).to(at::kCPU);
  const double now = now_s(), lap = now - last_lap_s_;
  last_lap_s_ = now;
  return lap;
}

}  // namespace crescendo
