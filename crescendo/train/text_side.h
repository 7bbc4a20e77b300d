// The text side of a run: an encoder, and what it reads for each image.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/train/recipe.h"

namespace crescendo {

struct TextSide {
  // Finds the encoder, or makes one where a run begins without. Refuses at once what the captions cannot serve for.
  TextSide(const RunOptions& run, const Recipe& recipe, const Dataset& dataset);
  // The encoder where it learns along; null where it is frozen.
  TextEncoder* learner() { return frozen ? nullptr : &*encoder; }

  std::vector<std::string> captions;  // of each image
  bool frozen;
  std::filesystem::path folder;  // the encoder as the run began
  Qwen2Config tower;
  std::optional<TextEncoder> encoder;
};

}  // namespace crescendo
