#include "crescendo/order/plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

constexpr double kHalfPi = std::numbers::pi / 2;

// How temperature runs over the outer steps, T being the user's.
enum class TemperatureRun { kConstant, kCosineFrom080, kLinearFrom085 };

struct Preset {
  std::string_view name;
  std::vector<int64_t> levels;  // told to the head; empty: spread evenly
  std::optional<bool> mask;     // unset: as the model was trained
  bool ramp_reaches;            // linear guidance ends at s (paper) or one step short of it (published)
  bool constant_cfg;            // unless a schedule is asked for
  TemperatureRun temperature;
  std::vector<int64_t> inner;  // steps: linear over the outer ones from one number to the next
  Solver solver = Solver::kDdpm;
  int64_t start_timestep = 0;    // 0: the solver's own
  std::vector<int64_t> ends{0};  // their least noisy timesteps, as linear
  bool levels_yield = false;     // spread evenly, as many, where a model has others or other steps are asked for
};

const std::vector<Preset>& presets() {
  using enum TemperatureRun;
  static const std::vector<int64_t> nine_levels{0, 2, 3, 5, 7, 9, 11, 13, 15};
  static const std::vector<Preset> table{
      {"paper", {}, {}, true, false, kConstant, {40, 100}},
      // Fewer steps than the paper's, outer and inner; what they cost in quality is in docs/performance.md.
      {"fast", nine_levels, {}, true, false, kConstant, {12}, Solver::kDpm2mSde, 980, {0}, true},
      {"turbo", nine_levels, {}, true, false, kConstant, {6}, Solver::kDpm2mSde, 980, {40}, true},
      {"published-nomask", {0, 2, 3, 4, 5, 6, 7, 8, 9, 10}, false, false, false, kCosineFrom080, {100}},
      {"published-mask", {0, 12, 12, 4, 5, 6, 7, 8, 9, 10, 11}, true, false, false, kLinearFrom085, {100}},
      {"published-t2i", {0, 2, 3, 4, 5, 6, 7, 8, 10, 13}, true, false, true, kCosineFrom080, {100}},
      {"mar", {}, true, false, false, kConstant, {100}},
  };
  return table;
}

const Preset& find_preset(const std::string& name) {
  for (const Preset& p : presets())
    if (p.name == name) return p;
  const auto names = sampler_preset_names();
  const std::string near_name = nearest_name(name, names);
  std::string list;
  for (const auto& n : names) list += (list.empty() ? "" : ", ") + n;
  usage_error("no sampler preset '", name, "'; there are ", list,
              near_name.empty() ? "" : " (did you mean " + near_name + "?)");
}

double temperature_at(TemperatureRun run, double t, int64_t k, int64_t steps) {
  const auto x = static_cast<double>(k), s = static_cast<double>(steps);
  switch (run) {
    case TemperatureRun::kConstant:
      return t;
    case TemperatureRun::kCosineFrom080:
      return 0.8 + (t - 0.8) * (1 - std::cos(kHalfPi * (x + 1) / s));
    case TemperatureRun::kLinearFrom085:
      return 0.85 + (t - 0.85) * x / s;
  }
  fail("plan: no temperature run number ", static_cast<int>(run));
}

// Linear from one number to the next, which stand evenly over the outer steps.
int64_t linear_at(const std::vector<int64_t>& knots, int64_t k, int64_t steps) {
  if (steps == 1 || knots.size() == 1) return knots.back();
  const double at = static_cast<double>(k) / static_cast<double>(steps - 1) * static_cast<double>(knots.size() - 1);
  const size_t i = std::min(static_cast<size_t>(at), knots.size() - 2);
  return std::lround(static_cast<double>(knots[i]) +
                     (at - static_cast<double>(i)) * static_cast<double>(knots[i + 1] - knots[i]));
}

std::vector<int64_t> spread_levels(int64_t steps, int64_t levels) {
  std::vector<int64_t> out;
  for (int64_t k = 0; k < steps; ++k)
    out.push_back(steps == 1 ? 0 : std::lround(static_cast<double>(k * (levels - 1)) / static_cast<double>(steps - 1)));
  return out;
}

// Those of the outer steps: as asked for, the preset's, or spread evenly. Of a model that predicts the next level, all.
std::vector<int64_t> levels_of(const SamplerOptions& o, const Preset& preset, const ModelConfig& model) {
  constexpr int64_t kPaperSteps = 10;
  if (!o.levels.empty()) return o.levels;
  const auto given = static_cast<int64_t>(preset.levels.size());
  if (given > 0) {
    const int64_t highest = *std::max_element(preset.levels.begin(), preset.levels.end());
    const bool as_many = o.steps == 0 || o.steps == given;
    if (as_many && (preset.levels_yield ? highest + 1 == model.levels : highest < model.levels)) return preset.levels;
    check_usage(preset.levels_yield || as_many, "preset ", o.preset, " has ", given, " steps, got ", o.steps,
                "; use --levels or --preset paper for another number");
    check_usage(preset.levels_yield, "preset ", o.preset, " needs more than the ", model.levels,
                " levels of this model; use --preset paper");
  }
  const int64_t usual = given > 0 ? given : model.predicts == Target::kNextLevel ? model.levels : kPaperSteps;
  const int64_t steps = o.steps ? o.steps : std::min(usual, model.levels);
  check_usage(steps <= model.levels, "steps must be in 1..", model.levels, " (this model has ", model.levels,
              " levels), got ", steps);
  return spread_levels(steps, model.levels);
}

// A model that predicts the next level makes every level of the one before, and its prediction is filtered already.
void check_every_level(const SamplerOptions& o, const std::vector<int64_t>& levels, const ModelConfig& model) {
  bool every = static_cast<int64_t>(levels.size()) == model.levels;
  for (size_t k = 0; k < levels.size(); ++k) every = every && levels[k] == static_cast<int64_t>(k);
  check_usage(every, "this model predicts the next level, so it takes a step at each of its levels, 0..",
              model.levels - 1, "; got ", levels.size(), " steps of preset ", o.preset, ", the last at level ",
              levels.back(), "; leave out --levels, and use --preset paper or --steps ", model.levels);
  check_usage(o.filter == FilterChoice::kModel,
              "this model predicts the next level, which is filtered already; --filter does not apply");
  check_usage(o.draft_timestep == 0,
              "this model predicts the next level, of which the last prediction is no draft; --draft-timestep does not "
              "apply");
}

void check_options(const SamplerOptions& o, const ModelConfig& model) {
  check_usage(o.steps == 0 || o.levels.empty(),
              "--steps and --levels contradict each other: the list of levels is one per step");
  check_usage(o.steps >= 0, "the number of steps must be at least 1, got ", o.steps);
  check_usage(std::isfinite(o.cfg) && o.cfg >= 0, "cfg must be a number of at least 0, got ", o.cfg);
  check_usage(std::isfinite(o.temperature) && o.temperature >= 0, "temperature must be a number of at least 0, got ",
              o.temperature);
  check_usage(o.cfg_interval.empty() ||
                  (o.cfg_interval.size() == 2 && o.cfg_interval[0] >= 0 && o.cfg_interval[0] <= o.cfg_interval[1]),
              "the guidance interval is FIRST:LAST, outer steps from 0 on");
  check_usage(o.cfg_refresh >= 1, "cfg_refresh must be at least 1, got ", o.cfg_refresh);
  check_usage(o.visible_level >= 0 && o.visible_level <= model.levels, "visible_level must be in 0..", model.levels,
              " for this model, got ", o.visible_level);
  check_usage(o.draft_timestep >= 0 && o.draft_timestep < kTrainingTimesteps, "draft_timestep must be in 0..",
              kTrainingTimesteps - 1, ", got ", o.draft_timestep);
  for (const int64_t t : o.diffusion_steps)
    check_usage(t >= 1 && t <= kTrainingTimesteps, "diffusion steps must be in 1..", kTrainingTimesteps, ", got ", t);
  for (size_t k = 0; k < o.levels.size(); ++k) {
    check_usage(o.levels[k] >= 0 && o.levels[k] < model.levels, "levels must be in 0..", model.levels - 1,
                " for this model, got ", o.levels[k]);
    check_usage(k == 0 || o.levels[k] > o.levels[k - 1], "levels must increase, got ", o.levels[k], " after ",
                k ? o.levels[k - 1] : 0);
  }
}

// All but every N-th of the guided steps keep the difference, counted from the last one, which draws what is finest and
// guides most. The first has none to keep.
void keep_differences(Plan& plan, int64_t refresh) {
  Step* first = nullptr;
  int64_t guided = 0;
  for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
    if (step->guidance == 1) continue;
    step->kept_difference = guided++ % refresh != 0;
    first = &*step;
  }
  if (first) first->kept_difference = false;
}

// MAR's plan (Li et al. 2024): each token predicted once, in a random order.
Plan mar_plan(const SamplerOptions& o, const std::vector<int64_t>& inner, const ModelConfig& model) {
  constexpr int64_t kDefaultSteps = 64;
  const int64_t tokens = model.tokens();
  const int64_t steps = o.steps ? o.steps : std::min(kDefaultSteps, tokens);
  check_usage(o.levels.empty(), "MAR has no frequency levels; use --steps");
  check_usage(steps <= tokens, "MAR predicts at least one token a step: steps must be in 1..", tokens, ", got ", steps);
  check_usage(o.visible_level == 0, "MAR has no frequency levels; visible_level does not apply");
  check_usage(o.mask != MaskMode::kOff, "MAR is masked by nature; --no-mask does not apply");
  Plan plan;
  plan.keep_predicted = plan.random_order = true;
  int64_t masked = tokens;
  for (int64_t k = 0; k < steps; ++k) {
    // As published: at the last step, which takes all, guidance still counts one token as hidden.
    const int64_t left = std::max<int64_t>(1, std::min(masked - 1, cosine_masked(tokens, k + 1, steps)));
    const double share = static_cast<double>(tokens - left) / static_cast<double>(tokens);
    const double s = o.cfg_schedule == CfgSchedule::kConstant ? o.cfg : 1 + (o.cfg - 1) * share;
    Step step;
    step.masked = masked;
    step.guidance = s;
    step.temperature = o.temperature;
    step.inner_steps = linear_at(inner, k, steps);
    plan.steps.push_back(step);
    masked = left;
  }
  return plan;
}

}  // namespace

int64_t cosine_masked(int64_t tokens, int64_t k, int64_t steps) {
  if (k == 0) return tokens;
  return static_cast<int64_t>(std::floor(static_cast<double>(tokens) *
                                         std::cos(kHalfPi * static_cast<double>(k) / static_cast<double>(steps))));
}

int64_t hidden_at_level(int64_t tokens, int64_t level, int64_t visible_level) {
  return level < visible_level ? cosine_masked(tokens, level, visible_level) : 0;
}

int64_t sampled_visible_level(const SamplerOptions& o, const ModelConfig& model) {
  if (o.visible_level > 0) return o.visible_level;
  const bool as_trained = !find_preset(o.preset).mask.has_value();  // published masks run over the steps
  return as_trained ? model.visible_level : 0;
}

int64_t Plan::inner_steps() const {
  int64_t sum = 0;
  for (const Step& s : steps) sum += s.inner_steps;
  return sum;
}

std::vector<std::string> sampler_preset_names() {
  std::vector<std::string> names;
  for (const Preset& p : presets()) names.emplace_back(p.name);
  return names;
}

Plan make_plan(const SamplerOptions& o, const ModelConfig& model) {
  const Preset& preset = find_preset(o.preset);
  check_options(o, model);
  const std::vector<int64_t> inner = o.diffusion_steps.empty() ? preset.inner : o.diffusion_steps;

  const bool mar_model = model.kind == ModelKind::kMarClass, mar_preset = preset.name == "mar";
  check_usage(
      mar_model == mar_preset,
      mar_model ? "a MAR model is sampled with --preset mar, got " : "the preset mar needs a MAR model, got preset ",
      o.preset);
  Plan plan;
  if (mar_preset) {
    plan = mar_plan(o, inner, model);
  } else {
    const std::vector<int64_t> levels = levels_of(o, preset, model);
    const bool mask = o.mask == MaskMode::kAuto ? preset.mask.value_or(model.masked) : o.mask == MaskMode::kOn;
    check_usage(mask || o.visible_level == 0, "visible_level says where masks end, and here is none; use --mask");
    const bool filtered_already = model.predicts == Target::kNextLevel;
    if (filtered_already) check_every_level(o, levels, model);
    const auto steps = static_cast<int64_t>(levels.size());
    const int64_t visible_level = sampled_visible_level(o, model);
    plan.random_order = mask;
    for (int64_t k = 0; k < steps; ++k) {
      Step step;
      const int64_t level = levels[static_cast<size_t>(k)];
      step.level = static_cast<double>(level);
      if (k + 1 < steps && !filtered_already) step.filter = levels[static_cast<size_t>(k + 1)];
      // At first nothing is known, at whichever level.
      if (mask)
        step.masked = k > 0 && visible_level > 0 ? hidden_at_level(model.tokens(), level, visible_level)
                                                 : cosine_masked(model.tokens(), k, steps);
      const bool constant =
          o.cfg_schedule == CfgSchedule::kConstant || (o.cfg_schedule == CfgSchedule::kPreset && preset.constant_cfg);
      const int64_t ramp = preset.ramp_reaches ? steps - 1 : steps;
      step.guidance =
          constant || ramp == 0 ? o.cfg : 1 + (o.cfg - 1) * static_cast<double>(k) / static_cast<double>(ramp);
      step.temperature = temperature_at(preset.temperature, o.temperature, k, steps);
      step.inner_steps = linear_at(inner, k, steps);
      plan.steps.push_back(step);
    }
    // As published: nothing is filtered after the first masked step, whose three tokens are kept as they are.
    if (preset.name == "published-mask" && o.levels.empty()) plan.steps[0].filter.reset();
  }
  plan.solver = o.solver.value_or(preset.solver);
  const std::vector<int64_t> ends = o.end_timestep && !o.end_timestep->empty() ? *o.end_timestep : preset.ends;
  const auto outer_steps = static_cast<int64_t>(plan.steps.size());
  check_usage(o.cfg_interval.empty() || o.cfg_interval[1] < outer_steps, "the guidance interval ends at outer step ",
              o.cfg_interval.empty() ? 0 : o.cfg_interval[1], ", the last one is ", outer_steps - 1);
  for (int64_t k = 0; k < outer_steps; ++k) {
    Step& step = plan.steps[static_cast<size_t>(k)];
    if (!o.cfg_interval.empty() && (k < o.cfg_interval[0] || k > o.cfg_interval[1])) step.guidance = 1;
    // A filter reads every token, so before it every token has been predicted: a draft for all of the next step.
    step.draft = o.draft_timestep > 0 && k > 0 && plan.steps[static_cast<size_t>(k - 1)].filter.has_value();
    step.start_timestep = step.draft ? o.draft_timestep : o.start_timestep ? o.start_timestep : preset.start_timestep;
    step.end_timestep = linear_at(ends, k, outer_steps);
    solver_schedule(plan.solver, step.inner_steps, step.start_timestep,
                    step.end_timestep);  // throws where there is none
  }
  keep_differences(plan, o.cfg_refresh);
  plan.filter = o.filter == FilterChoice::kModel     ? model.filter
                : o.filter == FilterChoice::kSpatial ? FilterType::kSpatial
                                                     : FilterType::kFourier;
  return plan;
}

std::optional<std::string> noise_warning(const Plan& plan) {
  constexpr double kMostAtOnce = 850;  // the paper's first step has 822
  constexpr double kMostInResult = 100;
  constexpr double kMostSignal = 0.5;  // alpha_bar: t = 497 and below
  double most = 1;
  std::string warning;
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const Step& step = plan.steps[k];
    const Schedule s = solver_schedule(plan.solver, step.inner_steps, step.start_timestep, step.end_timestep);
    const std::string inner =
        concat("outer step ", k + 1, " takes ", step.inner_steps, step.inner_steps == 1 ? " step" : " steps", " of ",
               enum_name(plan.solver), " from t = ", s.timesteps.back());
    if (!step.draft && s.alpha_bar.back() > kMostSignal)
      return inner +
             ", where a token is more picture than noise, but begins from noise alone: noise comes out; use a "
             "higher --start-timestep, such as 980, and more than one of --diffusion-steps";
    const ErrorGain gain = error_gain(plan.solver, s);
    const double at_once = gain.first_step / kMostAtOnce, in_result = gain.result / kMostInResult;
    if (std::max(at_once, in_result) <= most) continue;
    most = std::max(at_once, in_result);
    warning = concat(inner,
                     at_once > 1 ? ", whose first multiplies an error of the model by "
                                 : ", which multiply an error of the model by ",
                     std::lround(at_once > 1 ? gain.first_step : gain.result), ": noise comes out; use ",
                     step.draft ? "a lower --draft-timestep" : "--start-timestep 980",
                     ", --preset fast, or more --diffusion-steps");
  }
  return warning.empty() ? std::nullopt : std::optional(warning);
}

Json plan_to_json(const Plan& plan) {
  Json steps = Json::array();
  for (const Step& s : plan.steps)
    steps.push_back({{"level", s.level},
                     {"filter", s.filter ? Json(*s.filter) : Json()},
                     {"masked", s.masked},
                     {"guidance", s.guidance},
                     {"kept_difference", s.kept_difference},
                     {"temperature", s.temperature},
                     {"inner_steps", s.inner_steps},
                     {"start_timestep", solver_schedule(plan.solver, 2, s.start_timestep).timesteps.back()},
                     {"end_timestep", s.end_timestep},
                     {"draft", s.draft}});
  return {{"solver", enum_name(plan.solver)},
          {"filter", enum_name(plan.filter)},
          {"keep_predicted", plan.keep_predicted},
          {"random_order", plan.random_order},
          {"steps", steps}};
}

}  // namespace crescendo
