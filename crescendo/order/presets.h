// Sampler presets: a name -> a complete description (sampler_options.h). What each costs in quality was measured with
// the model in the box (docs/performance.md).
#pragma once

#include <string>
#include <vector>

#include "crescendo/order/sampler_options.h"

namespace crescendo {

struct SamplerPreset {
  std::string_view name;
  Order order;
  SamplerOptions (*options)(const ModelConfig& model);
  bool any_steps;  // another number of steps spreads the levels evenly; else the published levels are all there is
};

// An unknown name is a usage error that lists the others.
const SamplerPreset& find_sampler_preset(const std::string& name);
std::vector<std::string> sampler_preset_names();
// The one that a model of this order takes where nothing else is asked.
std::string default_sampler_preset(Order order);

// `steps` levels spread evenly from 0 to levels - 1.
std::vector<int64_t> spread_levels(int64_t steps, int64_t levels);

}  // namespace crescendo
