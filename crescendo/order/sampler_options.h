// How a picture is to be sampled: a complete description, which a preset gives and single options change.
#pragma once

#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/diffusion/solvers.h"
#include "crescendo/model/config.h"

namespace crescendo {

// How guidance runs over the outer steps.
enum class CfgSchedule { kLinear, kPublished, kConstant };
constexpr auto enum_table(CfgSchedule) {
  return std::array{EnumName{CfgSchedule::kLinear, "linear"}, EnumName{CfgSchedule::kPublished, "published"},
                    EnumName{CfgSchedule::kConstant, "constant"}};
}
// How temperature runs over the outer steps.
enum class TemperatureSchedule { kConstant, kCosine, kLinear };
constexpr auto enum_table(TemperatureSchedule) {
  return std::array{EnumName{TemperatureSchedule::kConstant, "constant"},
                    EnumName{TemperatureSchedule::kCosine, "cosine"}, EnumName{TemperatureSchedule::kLinear, "linear"}};
}

struct SamplerOptions {
  std::string preset;
  int64_t steps = 0;            // S
  std::vector<int64_t> levels;  // of FAR: one a step
  bool filter_first = true;
  double cfg = 3.0;
  CfgSchedule cfg_schedule = CfgSchedule::kLinear;
  double temperature = 1.0;
  TemperatureSchedule temperature_schedule = TemperatureSchedule::kConstant;
  std::vector<int64_t> diffusion_steps = {100};
  Solver solver = Solver::kDdpm;
  int64_t start_timestep = kTrainingTimesteps - 1;
  int64_t end_timestep = 0;
  bool mask = true;
  int64_t visible_level = 0;
  FilterType filter = FilterType::kSpatial;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("preset", s.preset,
      "paper, fast, turbo, published-nomask, published-mask, published-t2i; mar, raster and next-scale for models of "
      "these orders");
    v("steps", s.steps, "outer (autoregressive) steps");
    v("levels", s.levels, "frequency level of every outer step, increasing");
    v("filter_first", s.filter_first, "low-pass the prediction of the first step, too (published-mask does not)");
    v("cfg", s.cfg, "guidance scale s; 1 is none");
    v("cfg_schedule", s.cfg_schedule,
      "guidance over the outer steps: linear (from 1, s at the last; MAR: with the share of tokens that are there), "
      "published (linear, ends one step short of s) or constant");
    v("temperature", s.temperature, "scale of the noise in the inner steps");
    v("temperature_schedule", s.temperature_schedule,
      "temperature over the outer steps: constant, or rising to it by a cosine from 0.8 or a line from 0.85");
    v("diffusion_steps", s.diffusion_steps,
      "inner (diffusion) steps: [T], or [first, last] to run linearly over the outer steps");
    v("solver", s.solver, "solver of the inner steps: ddpm, ddim, dpmpp-2m or dpmpp-2m-sde");
    v("start_timestep", s.start_timestep, "noisiest timestep of the inner steps, up to 999");
    v("end_timestep", s.end_timestep, "least noisy timestep of the inner steps");
    v("mask", s.mask, "reveal tokens step by step in a random order");
    v("visible_level", s.visible_level,
      "with masks, level from which on no token is hidden: the cosine runs over the levels up to it; 0: it runs over "
      "the steps");
    v("filter", s.filter, "low-pass filter: spatial or fourier");
  }
};

// The preset that `asked` names, else that of the model's order: "paper", "mar", "raster" or "next-scale".
std::string asked_preset(const Json& asked, const ModelConfig& model);

// Throws a usage error where `asked` has a key, a value's type or a preset that does not exist. Whether it fits a
// model resolve_sampler() checks.
void check_asked(const Json& asked);

// The description that `asked` gives for a model: its preset, changed by its other keys. What the preset leaves open
// follows the model: masks and filter as it was trained, no more steps than it has levels. A usage error names the
// field.
SamplerOptions resolve_sampler(const Json& asked, const ModelConfig& model);

// What a config of before 0.2 asks: without the values that meant "as the preset says". A usage error names an option
// that is gone.
Json older_sampler(Json asked);

// `over` asked on top of `base`: its keys replace those of `base`, and another preset replaces all of it.
Json merge_asked(const Json& base, const Json& over);

}  // namespace crescendo
