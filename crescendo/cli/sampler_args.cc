#include "crescendo/cli/sampler_args.h"

#include "crescendo/core/check.h"

namespace crescendo {

void SamplerArgs::add(CLI::App& command) {
  const std::string group = "Sampler (default: what the model's config.json says)";
  std::string presets;
  for (const auto& name : sampler_preset_names()) presets += (presets.empty() ? "" : ", ") + name;
  command.add_option("--preset", preset, "sampler preset: " + presets)->group(group);
  add_number(command, "--steps", steps, "outer (autoregressive) steps", 1)->group(group);
  command.add_option("--levels", levels, "frequency level of every outer step, e.g. 0,2,5,9")->group(group);
  command.add_flag("--mask", mask, "reveal tokens step by step in a random order")->group(group);
  command.add_flag("--no-mask", no_mask, "all tokens visible from the start")->group(group);
  add_number(command, "--visible-level", visible_level,
             "level from which on no token is hidden in mask mode; 0: the last steps hide some")
      ->group(group);
  command.add_option("--filter", filter, "low-pass filter: spatial or fourier")->group(group);
  add_number(command, "--cfg", cfg, "guidance scale s; 1 is none")->group(group);
  command.add_option("--cfg-schedule", cfg_schedule, "linear or constant over the outer steps")->group(group);
  command
      .add_option("--cfg-interval", cfg_interval,
                  "FIRST:LAST outer step (from 0) that is guided; default: the preset's")
      ->group(group);
  add_number(command, "--cfg-refresh", cfg_refresh,
             "transformer without the condition at every N-th guided outer step, counted from the last")
      ->group(group);
  add_number(command, "--temperature", temperature, "scale of the noise in the inner steps")->group(group);
  command
      .add_option("--diffusion-steps", diffusion_steps,
                  "inner (diffusion) steps: T, A:B from the first to the last outer step, or A:B:C over a middle")
      ->group(group);
  add_number(command, "--start-timestep", start_timestep, "noisiest timestep of the inner steps, up to 999")
      ->group(group);
  command
      .add_option("--end-timestep", end_timestep,
                  "least noisy timestep of the inner steps: T, or A:B from the first to the last outer step")
      ->group(group);
  add_number(command, "--draft-timestep", draft_timestep,
             "later outer steps start here, from the last prediction and noise, not from noise alone")
      ->group(group);
  command.add_option("--solver", solver, "solver of the inner steps: " + enum_choices<Solver>())->group(group);
  command
      .add_flag("--int8", int8,
                "products of transformer and diffusion head in int8, on a CPU; the rest as --dtype says")
      ->group("Precision");
}

SamplerOptions SamplerArgs::over(const SamplerOptions& model_default) const {
  check_usage(!(mask && no_mask), "--mask and --no-mask contradict each other");
  SamplerOptions o = model_default;
  if (preset && *preset != model_default.preset) {
    o = SamplerOptions{};
    o.preset = *preset;
  }
  if (steps) {
    o.steps = *steps;
    o.levels.clear();
  }
  if (levels) {
    check_usage(!steps, "--steps and --levels contradict each other: the list of levels is one per step");
    o.levels = parse_list(*levels, "--levels");
    o.steps = 0;
  }
  if (mask) o.mask = MaskMode::kOn;
  if (no_mask) {
    o.mask = MaskMode::kOff;
    o.visible_level = 0;  // the model's own, which says when masks end
  }
  if (visible_level) o.visible_level = *visible_level;
  if (filter)
    o.filter = parse_enum<FilterType>(*filter, "--filter") == FilterType::kSpatial ? FilterChoice::kSpatial
                                                                                   : FilterChoice::kFourier;
  if (cfg) o.cfg = *cfg;
  if (cfg_schedule) {
    check_usage(*cfg_schedule == "linear" || *cfg_schedule == "constant",
                "--cfg-schedule must be linear or constant, got '", *cfg_schedule, "'");
    o.cfg_schedule = parse_enum<CfgSchedule>(*cfg_schedule, "--cfg-schedule");
  }
  if (cfg_interval) o.cfg_interval = parse_range(*cfg_interval, "--cfg-interval");
  if (cfg_refresh) o.cfg_refresh = *cfg_refresh;
  if (temperature) o.temperature = *temperature;
  if (diffusion_steps) o.diffusion_steps = parse_range(*diffusion_steps, "--diffusion-steps");
  if (start_timestep) o.start_timestep = *start_timestep;
  if (end_timestep) o.end_timestep = parse_range(*end_timestep, "--end-timestep");
  if (draft_timestep) o.draft_timestep = *draft_timestep;
  if (solver) o.solver = parse_enum<Solver>(*solver, "--solver");
  return o;
}

}  // namespace crescendo
