// What the subcommands of `crescendo evaluate` share that score a model's pictures.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/metrics/scorer.h"
#include "crescendo/pipeline/pipeline.h"

namespace crescendo {

struct EvaluateArguments {
  CommonOptions common;
  SamplerArgs sampler;
  std::string model;
  uint64_t seed = 0;
  int64_t batch = 40;

  // `default_model` is what the help says.
  void add(CLI::App& command, const std::string& default_model);
  // Adds --reconstruct, which goes without what belongs to sampling.
  CLI::Option* add_reconstruct(CLI::App& command, bool& reconstruct);
};

struct MadePictures {
  std::vector<Image> images;  // in the order of the request
  double seconds_per_image = 0;
};

MadePictures generate_pictures(const EvaluateArguments& a, const std::filesystem::path& dir, const Request& request);

// Pictures 0..count-1 through the model's tokenizer and back: what a model gets that draws perfect latents. `picture`
// is given the side that the model draws.
MadePictures reconstruct_pictures(const EvaluateArguments& a, const std::filesystem::path& dir, int64_t count,
                                  const std::function<Image(int64_t index, int64_t side)>& picture);

// Scores what was made and says how good it is; `more` goes behind the scorer's own report. Where `results` names a
// file, each picture's own verdict goes there.
void report_score(const EvaluateArguments& a, const Scorer& scorer, const MadePictures& made, const Json& more,
                  const std::string& results = "");

// Every picture is kept until all are there. Throws before any is made where they cannot fit into memory.
void check_score_fits(const EvaluateArguments& a, const std::filesystem::path& dir, const ModelConfig& model,
                      double images);

}  // namespace crescendo
