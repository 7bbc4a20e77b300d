#include "crescendo/order/plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "crescendo/core/check.h"
#include "crescendo/order/far.h"
#include "crescendo/order/mar.h"
#include "crescendo/order/masks.h"
#include "crescendo/order/next_scale.h"
#include "crescendo/order/raster.h"

namespace crescendo {

namespace {

constexpr double kHalfPi = std::numbers::pi / 2;

// Guidance s at step k of S.
double guidance_at(const SamplerOptions& o, int64_t k) {
  const int64_t ramp = o.cfg_schedule == CfgSchedule::kLinear ? o.steps - 1 : o.steps;
  if (o.cfg_schedule == CfgSchedule::kConstant || ramp == 0) return o.cfg;
  return 1 + (o.cfg - 1) * static_cast<double>(k) / static_cast<double>(ramp);
}

double temperature_at(const SamplerOptions& o, int64_t step) {
  const auto k = static_cast<double>(step), S = static_cast<double>(o.steps);
  switch (o.temperature_schedule) {
    case TemperatureSchedule::kConstant:
      return o.temperature;
    case TemperatureSchedule::kCosine:
      return 0.8 + (o.temperature - 0.8) * (1 - std::cos(kHalfPi * (k + 1) / S));
    case TemperatureSchedule::kLinear:
      return 0.85 + (o.temperature - 0.85) * k / S;
  }
  fail("no temperature schedule number ", static_cast<int>(o.temperature_schedule));
}

}  // namespace

int64_t Plan::inner_steps() const {
  int64_t sum = 0;
  for (const Step& s : steps) sum += s.head.spacing.steps;
  return sum;
}

std::pair<int64_t, int64_t> places_read(const Plan& plan, int64_t k, int64_t tokens) {
  const Step& step = plan.steps[static_cast<size_t>(k)];
  if (plan.order == Order::kMar) return {plan.masked_after(k), step.masked};
  return {step.filter ? 0 : plan.masked_after(k), tokens};
}

HeadStep head_step(const SamplerOptions& o, int64_t k) {
  HeadStep step;
  step.guidance = guidance_at(o, k);
  step.temperature = temperature_at(o, k);
  step.solver = o.solver;
  step.spacing = {linear_at(o.diffusion_steps, k, o.steps), o.start_timestep, o.end_timestep};
  solver_schedule(o.solver, step.spacing);  // throws where there is none
  return step;
}

Plan make_plan(const SamplerOptions& options, const ModelConfig& model) {
  switch (model.order) {
    case Order::kFar:
      return far_plan(options, model);
    case Order::kMar:
      return mar_plan(options, model);
    case Order::kRaster:
      return raster_plan(options, model);
    case Order::kNextScale:
      return next_scale_plan(options, model);
  }
  fail("make_plan: no order number ", static_cast<int>(model.order));
}

std::optional<std::string> noise_warning(const Plan& plan) {
  constexpr double kMostAtOnce = 850;  // the paper's first step has 822
  constexpr double kMostInResult = 100;
  constexpr double kMostSignal = 0.5;  // alpha_bar: t = 497 and below
  double most = 1;
  std::string warning;
  for (int64_t k = 0; k < plan.size(); ++k) {
    const HeadStep& step = plan.steps[static_cast<size_t>(k)].head;
    const Schedule s = solver_schedule(step.solver, step.spacing);
    const std::string inner =
        concat("outer step ", k + 1, " takes ", step.spacing.steps, step.spacing.steps == 1 ? " step" : " steps",
               " of ", enum_name(step.solver), " from t = ", s.timesteps.back());
    if (s.alpha_bar.back() > kMostSignal)
      return inner +
             ", where a token is more picture than noise, but starts from noise alone: noise comes out; use a higher "
             "start_timestep, such as 980, and more than one of diffusion_steps";
    const ErrorGain gain = error_gain(step.solver, s);
    const double at_once = gain.first_step / kMostAtOnce, in_result = gain.result / kMostInResult;
    if (std::max(at_once, in_result) <= most) continue;
    most = std::max(at_once, in_result);
    warning = concat(inner,
                     at_once > 1 ? ", whose first multiplies an error of the model by "
                                 : ", which multiply an error of the model by ",
                     std::lround(at_once > 1 ? gain.first_step : gain.result),
                     ": noise comes out; use start_timestep 980, the preset fast, or more diffusion_steps");
  }
  return warning.empty() ? std::nullopt : std::optional(warning);
}

Json plan_to_json(const Plan& plan) {
  Json steps = Json::array();
  for (const Step& s : plan.steps)
    steps.push_back({{"level", s.head.level},
                     {"filter", s.filter ? Json(*s.filter) : Json()},
                     {"masked", s.masked},
                     {"guidance", s.head.guidance},
                     {"temperature", s.head.temperature},
                     {"solver", enum_name(s.head.solver)},
                     {"inner_steps", s.head.spacing.steps},
                     {"start_timestep", s.head.spacing.start},
                     {"end_timestep", s.head.spacing.end}});
  return {{"order", enum_name(plan.order)},
          {"filter", enum_name(plan.filter)},
          {"random_order", plan.random_order},
          {"steps", steps}};
}

}  // namespace crescendo
