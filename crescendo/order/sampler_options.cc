#include "crescendo/order/sampler_options.h"

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/fields.h"
#include "crescendo/order/presets.h"

namespace crescendo {

namespace {

void check_options(const SamplerOptions& o, const ModelConfig& model) {
  check_usage(o.steps >= 1, "steps must be at least 1, got ", o.steps);
  check_usage(std::isfinite(o.cfg) && o.cfg >= 0, "cfg must be a number of at least 0, got ", o.cfg);
  check_usage(std::isfinite(o.temperature) && o.temperature >= 0, "temperature must be a number of at least 0, got ",
              o.temperature);
  check_usage(o.visible_level >= 0 && o.visible_level <= model.levels, "visible_level must be in 0..", model.levels,
              " for this model, got ", o.visible_level);
  check_usage(o.diffusion_steps.size() == 1 || o.diffusion_steps.size() == 2,
              "diffusion_steps is [T] or [first, last], got ", o.diffusion_steps.size(), " numbers");
  for (const int64_t t : o.diffusion_steps)
    check_usage(t >= 1 && t <= kTrainingTimesteps, "diffusion_steps must be in 1..", kTrainingTimesteps, ", got ", t);
  for (const int64_t t : {o.start_timestep, o.end_timestep})
    check_usage(t >= 0 && t < kTrainingTimesteps, "start_timestep and end_timestep must be in 0..",
                kTrainingTimesteps - 1, ", got ", t);
}

}  // namespace

Json older_sampler(Json asked) {
  check_usage(asked.is_object(), "sampler must be an object, got ", json_text(asked));
  const Json as_the_preset = {{"steps", 0},
                              {"levels", Json::array()},
                              {"cfg_schedule", "preset"},
                              {"diffusion_steps", Json::array()},
                              {"solver", nullptr},
                              {"start_timestep", 0},
                              {"end_timestep", nullptr},
                              {"mask", "auto"},
                              {"visible_level", 0},
                              {"filter", "model"},
                              {"draft_timestep", 0},
                              {"cfg_refresh", 1},
                              {"cfg_interval", Json::array()}};
  for (const auto& [key, value] : as_the_preset.items())
    if (const auto it = asked.find(key); it != asked.end() && *it == value) asked.erase(it);
  for (const char* gone : {"draft_timestep", "cfg_refresh", "cfg_interval"})
    check_usage(!asked.contains(gone), "sampler.", gone, " is no longer an option; remove it");
  if (const auto mask = asked.find("mask"); mask != asked.end() && mask->is_string()) {
    check_usage(*mask == "on" || *mask == "off", "sampler.mask must be true or false, got ", json_text(*mask));
    *mask = *mask == "on";
  }
  if (const auto end = asked.find("end_timestep"); end != asked.end() && end->is_array()) {
    check_usage(end->size() <= 1, "sampler.end_timestep is one number, got ", json_text(*end));
    if (end->empty())
      asked.erase(end);
    else
      *end = Json((*end)[0]);
  }
  return asked;
}

std::string asked_preset(const Json& asked, const ModelConfig& model) {
  check_usage(asked.is_object(), "sampler must be an object, got ", json_text(asked));
  std::string name = default_sampler_preset(model.order);
  if (const auto it = asked.find("preset"); it != asked.end()) value_from_json(name, *it, "sampler.preset");
  return name;
}

void check_asked(const Json& asked) {
  SamplerOptions unused;
  value_from_json(unused, asked, "sampler");
  if (asked.contains("preset")) find_sampler_preset(unused.preset);
}

SamplerOptions resolve_sampler(const Json& asked, const ModelConfig& model) {
  const std::string name = asked_preset(asked, model);
  const SamplerPreset& preset = find_sampler_preset(name);
  check_usage(preset.order == model.order, "the preset ", name, " is for models of order ", enum_name(preset.order),
              ", and this model's is ", enum_name(model.order), "; take the preset ",
              default_sampler_preset(model.order));
  if (model.is_sequence())
    for (const char* key : {"levels", "filter_first", "filter", "mask", "visible_level"})
      check_usage(!asked.contains(key), "the order ", enum_name(model.order), " has no frequency levels and no masks; ",
                  key, " does not apply");
  SamplerOptions o = preset.options(model);
  const std::vector<int64_t> preset_levels = o.levels;
  const auto preset_steps = static_cast<int64_t>(preset_levels.size());
  const bool own_start = o.start_timestep == first_timestep(o.solver);
  value_from_json(o, asked, "sampler");
  o.preset = name;
  if (!o.mask && !asked.contains("visible_level")) o.visible_level = 0;
  check_usage(model.predicts == Target::kClean || !asked.contains("filter"),
              "this model predicts the next level, which is filtered already; filter does not apply");
  if (asked.contains("solver") && !asked.contains("start_timestep") && own_start)
    o.start_timestep = first_timestep(o.solver);
  // The published mask plan leaves its own first step unfiltered, not that of other levels.
  if (asked.contains("levels") && !asked.contains("filter_first")) o.filter_first = true;
  if (model.order == Order::kFar) {
    const auto levels = static_cast<int64_t>(o.levels.size());
    if (asked.contains("levels")) {
      check_usage(!asked.contains("steps") || o.steps == levels, "steps and levels contradict each other: ", o.steps,
                  " steps, ", levels, " levels, one a step");
      for (size_t k = 1; k < o.levels.size(); ++k)  // but for a published list
        check_usage(o.levels == preset_levels || o.levels[k] > o.levels[k - 1], "levels must increase, got ",
                    o.levels[k], " after ", o.levels[k - 1]);
    } else if (asked.contains("steps") && o.steps != preset_steps) {
      check_usage(preset.any_steps, "preset ", name, " has ", preset_steps, " steps, got ", o.steps,
                  "; give levels, or take the preset paper for another number");
      check_usage(o.steps >= 1 && o.steps <= model.levels, "steps must be in 1..", model.levels, " (this model has ",
                  model.levels, " levels), got ", o.steps);
      o.levels = spread_levels(o.steps, model.levels);
    } else {
      check_usage(*std::max_element(o.levels.begin(), o.levels.end()) < model.levels, "preset ", name,
                  " needs more than the ", model.levels, " levels of this model; take the preset paper");
    }
    o.steps = static_cast<int64_t>(o.levels.size());
  }
  check_options(o, model);
  return o;
}

Json merge_asked(const Json& base, const Json& over) {
  if (over.contains("preset") && over["preset"] != base.value("preset", Json())) return over;
  Json merged = base;
  // Each determines the other.
  if (over.contains("steps")) merged.erase("levels");
  if (over.contains("levels")) merged.erase("steps");
  if (over.contains("mask") && over["mask"] == false) merged.erase("visible_level");
  merged.update(over);
  return merged;
}

}  // namespace crescendo
