#include "crescendo/order/plan.h"

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/order/far.h"
#include "crescendo/order/mar.h"

namespace crescendo {

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

Plan make_plan(const SamplerOptions& options, const ModelConfig& model) {
  switch (model.order) {
    case Order::kFar:
      return far_plan(options, model);
    case Order::kMar:
      return mar_plan(options, model);
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
