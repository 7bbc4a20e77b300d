// The sampler's options on the command line, over those that a model's config.json holds.
#pragma once

#include "crescendo/cli/args.h"
#include "crescendo/order/plan.h"

namespace crescendo {

struct SamplerArgs {
  std::optional<std::string> preset, levels, cfg_schedule, cfg_interval, diffusion_steps, end_timestep, solver, filter;
  std::optional<int64_t> steps, cfg_refresh, start_timestep, draft_timestep, visible_level;
  std::optional<double> cfg, temperature;
  bool mask = false, no_mask = false;
  bool int8 = false;  // not of the sampler, but of those commands that have one

  void add(CLI::App& command);
  // A --preset that is not the model's starts from that preset's own choices.
  SamplerOptions over(const SamplerOptions& model_default) const;
};

}  // namespace crescendo
