// One outer step: the transformer once over every token, then the inner steps of the diffusion head, guided.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "bench/support.h"
#include "crescendo/diffusion/schedule.h"
#include "crescendo/model/far_model.h"
#include "crescendo/order/cost.h"
#include "crescendo/order/sample.h"

namespace crescendo::bench {
namespace {

constexpr double kGuidance = 3.0, kTemperature = 0.9;
constexpr int64_t kLevel = 5;

Plan one_step(int64_t inner_steps) {
  Plan plan;
  Step step;
  step.head.level = static_cast<double>(kLevel);
  step.head.guidance = kGuidance;
  step.head.temperature = kTemperature;
  step.head.spacing = {inner_steps, 960};  // from 960: at 999 random weights' errors are multiplied by hundreds
  plan.steps.push_back(step);
  return plan;
}

// Ancestral sampling written out: conditional and unconditional pass apart, every embedding computed where it is used.
Tensor plain(const FarModel& model, const Tensor& condition, int64_t inner_steps, const NoiseSource& noise) {
  const ModelConfig& m = model.config();
  const int64_t batch = condition.size(0), rows = batch * m.tokens(), channels = m.token_channels();
  const Tensor nothing = at::zeros({batch, m.tokens(), channels});
  const Tensor level = at::full({rows, 1}, static_cast<double>(kLevel));
  const auto z_of = [&](const Tensor& c) {
    return model.backbone().forward(nothing, c, TokenMask::none()).reshape({rows, m.width});
  };
  const Tensor z_conditional = z_of(condition), z_null = z_of(model.backbone().null_condition(batch));
  const Schedule s = schedule_of(respaced_timesteps(inner_steps, 960));
  Tensor x = noise.initial(0).reshape({rows, channels});
  for (int64_t i = inner_steps - 1; i >= 0; --i) {
    const auto k = static_cast<size_t>(i);
    const Tensor t = at::full({rows}, s.timesteps[k], at::kLong);
    const auto answer = [&](const Tensor& z) {
      return model.head().forward(x, model.head().condition(z, level) + model.head().time_embedding(t)).chunk(2, 1);
    };
    const auto conditional = answer(z_conditional), null = answer(z_null);
    const Tensor eps = null[0] + kGuidance * (conditional[0] - null[0]);
    const double a = s.alpha_bar[k], before = s.alpha_bar_prev[k], beta = 1 - a / before;
    const Tensor x0 = (x - std::sqrt(1 - a) * eps) / std::sqrt(a);
    const Tensor mean = (std::sqrt(before) * beta * x0 + std::sqrt(1 - beta) * (1 - before) * x) / (1 - a);
    if (i == 0) return unpatchify(mean.view({batch, m.tokens(), channels}), m);
    const double low = std::log(beta * (1 - before) / (1 - a)), high = std::log(beta);
    const Tensor log_variance = low + (conditional[1] + 1) / 2 * (high - low);
    x = mean +
        kTemperature * at::exp(log_variance / 2) * noise.steps(0, inner_steps - 1 - i, 1).reshape({rows, channels});
  }
  return {};
}

void outer_step(benchmark::State& state, const ModelConfig& m, int64_t images, int64_t inner_steps) {
  const at::NoGradGuard no_grad;
  const auto model = FarModel::from(m, random_weights(FarModel::outline(m)->params().items()), "random weights");
  const Tensor condition = model->backbone().class_condition(at::arange(images));
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < images; ++i) seeds.push_back(static_cast<uint64_t>(i));
  const SeededNoise noise(seeds, m.tokens(), m.token_channels(), at::kCPU);

  constexpr int64_t kChecked = 3;
  const Tensor got = sample(*model, condition, one_step(kChecked), noise);
  if (!accept(state, relative_l2(got, plain(*model, condition, kChecked, noise)), 1e-3)) return;
  const Plan plan = one_step(inner_steps);
  const int64_t rows = 2 * images * m.tokens();
  time(state, static_cast<double>(images) * plan_cost(plan, m).done.total(),
       product_rate(rows, m.diffusion_width, m.diffusion_width),
       [&] { return sample(*model, condition, plan, noise); });
  state.counters["inner_steps"] = static_cast<double>(inner_steps);
}

// The published number of inner steps is 100; their cost is proportional, so FAR-B takes a tenth of them.
BENCHMARK_CAPTURE(outer_step, far_b_1_image, far_b(), 1, 10)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(outer_step, shapes_64_1_image, shapes_64(), 1, 70)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(outer_step, shapes_64_8_images, shapes_64(), 8, 70)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
