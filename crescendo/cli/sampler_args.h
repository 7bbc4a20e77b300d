// The sampler's options on the command line, over what a model's config.json asks for.
#pragma once

#include "crescendo/cli/field_args.h"
#include "crescendo/order/sampler_options.h"
#include "crescendo/store/model_dir.h"

namespace crescendo {

struct SamplerArgs {
  FieldArgs fields;
  bool int8 = false;  // not of the sampler, but of those commands that have one

  void add(CLI::App& command);
  // A preset that is not the model's starts from that preset's own choices.
  SamplerOptions over(const ModelInfo& model) const;
};

}  // namespace crescendo
