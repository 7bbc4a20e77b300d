#include "crescendo/cli/sampler_args.h"

#include "crescendo/core/check.h"

namespace crescendo {

void SamplerArgs::add(CLI::App& command) {
  fields.add<SamplerOptions>(command, "Sampler (default: what the model's config.json says)");
  command
      .add_flag("--int8", int8,
                "products of transformer and diffusion head in int8, on a CPU; the rest as --dtype says")
      ->group("Precision");
}

SamplerOptions SamplerArgs::over(const ModelInfo& model) const {
  const Json& given = fields.given();
  check_usage(!given.contains("steps") || !given.contains("levels"),
              "--steps and --levels contradict each other: the list of levels is one per step");
  return resolve_sampler(merge_asked(model.sampler, given), model.model);
}

}  // namespace crescendo
