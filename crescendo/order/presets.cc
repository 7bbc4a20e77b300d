#include "crescendo/order/presets.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

namespace {

// What presets have in common: masks and filter as the model was trained.
SamplerOptions as_trained(const ModelConfig& model) {
  SamplerOptions o;
  o.mask = model.masked;
  o.visible_level = model.masked ? model.visible_level : 0;
  o.filter = model.filter;
  return o;
}

SamplerOptions paper(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  const int64_t steps = model.predicts == Target::kClean ? 10 : model.levels;  // the next level is made of each
  o.levels = spread_levels(std::min(steps, model.levels), model.levels);
  o.diffusion_steps = {40, 100};
  return o;  // 75.2 % of shapes right
}

// Fewer outer and inner steps than the paper's.
SamplerOptions fast(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  o.levels = model.levels == 16 ? std::vector<int64_t>{0, 2, 3, 5, 7, 9, 11, 13, 15}
                                : spread_levels(std::min<int64_t>(9, model.levels), model.levels);
  o.diffusion_steps = {12};
  o.solver = Solver::kDpm2mSde;
  o.start_timestep = 980;
  return o;  // 74.9 %
}

SamplerOptions turbo(const ModelConfig& model) {
  SamplerOptions o = fast(model);
  o.diffusion_steps = {6};
  o.end_timestep = 40;
  return o;  // 74.7 %
}

// The released samplers of the class models, without and with masks, and of the text model.
SamplerOptions published_nomask(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  o.mask = false;
  o.visible_level = 0;
  o.levels = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  o.cfg_schedule = CfgSchedule::kPublished;
  o.temperature_schedule = TemperatureSchedule::kCosine;
  return o;
}

SamplerOptions published_mask(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  o.mask = true;
  o.visible_level = 0;  // masks by the number of the step
  o.levels = {0, 12, 12, 4, 5, 6, 7, 8, 9, 10, 11};
  o.filter_first = false;  // the three tokens of the first step are kept as they are
  o.cfg_schedule = CfgSchedule::kPublished;
  o.temperature_schedule = TemperatureSchedule::kLinear;
  return o;
}

SamplerOptions published_t2i(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  o.mask = true;
  o.visible_level = 0;  // masks by the number of the step
  o.levels = {0, 2, 3, 4, 5, 6, 7, 8, 10, 13};
  o.cfg_schedule = CfgSchedule::kConstant;
  o.temperature_schedule = TemperatureSchedule::kCosine;
  return o;
}

SamplerOptions mar(const ModelConfig& model) {
  SamplerOptions o = as_trained(model);
  o.mask = true;
  o.steps = std::min<int64_t>(64, model.tokens());
  return o;
}

// Guidance runs from 1 to s over the tokens or scales; inner steps and solver are the plain ones.
SamplerOptions sequence(const ModelConfig& model) {
  SamplerOptions o;
  o.mask = false;
  o.filter = model.filter;
  o.steps = static_cast<int64_t>(model.step_tokens().size());
  return o;
}

constexpr std::array kPresets{
    SamplerPreset{"paper", Order::kFar, paper, true},
    SamplerPreset{"fast", Order::kFar, fast, true},
    SamplerPreset{"turbo", Order::kFar, turbo, true},
    SamplerPreset{"published-nomask", Order::kFar, published_nomask, false},
    SamplerPreset{"published-mask", Order::kFar, published_mask, false},
    SamplerPreset{"published-t2i", Order::kFar, published_t2i, false},
    SamplerPreset{"mar", Order::kMar, mar, true},
    SamplerPreset{"raster", Order::kRaster, sequence, false},
    SamplerPreset{"next-scale", Order::kNextScale, sequence, false},
};

}  // namespace

const SamplerPreset& find_sampler_preset(const std::string& name) {
  for (const SamplerPreset& p : kPresets)
    if (p.name == name) return p;
  const auto names = sampler_preset_names();
  const std::string near_name = nearest_name(name, names);
  usage_error("no sampler preset '", name, "'; there are ", join(names),
              near_name.empty() ? "" : " (did you mean " + near_name + "?)");
}

std::vector<std::string> sampler_preset_names() {
  std::vector<std::string> names;
  for (const SamplerPreset& p : kPresets) names.emplace_back(p.name);
  return names;
}

std::string default_sampler_preset(Order order) { return order == Order::kFar ? "paper" : enum_name(order); }

std::vector<int64_t> spread_levels(int64_t steps, int64_t levels) {
  std::vector<int64_t> out;
  for (int64_t k = 0; k < steps; ++k)
    out.push_back(steps == 1 ? 0 : std::lround(static_cast<double>(k * (levels - 1)) / static_cast<double>(steps - 1)));
  return out;
}

}  // namespace crescendo
