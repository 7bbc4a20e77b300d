// Published checkpoints: which of a file's weights to take, and what model they are.
#pragma once

#include <optional>

#include "crescendo/io/checkpoint.h"
#include "crescendo/model/architecture.h"
#include "crescendo/pipeline/model_dir.h"

namespace crescendo {

// Training programs are told a folder and take its checkpoint-last.pth; any other path is itself.
std::filesystem::path checkpoint_path(const std::filesystem::path& path);

// A training run keeps the weights themselves and their average, which is what is sampled from.
enum class WeightsChoice { kEma, kRaw };
constexpr auto enum_table(WeightsChoice) {
  return std::array{EnumName{WeightsChoice::kEma, "ema"}, EnumName{WeightsChoice::kRaw, "raw"}};
}

// The weights of a model. A file that holds one set without a name holds whichever was asked for, unless it says
// otherwise. Throws where the choice is not there, and where these are a tokenizer's or a text encoder's.
const TensorMap& model_weights(const Checkpoint& file, WeightsChoice choice);
// The set of weights that is a KL-VAE's.
const TensorMap& tokenizer_weights(const Checkpoint& file);

// Sizes and sampler: from the config that this program stored in the file, else from shapes and saved arguments. With
// heads that neither they nor `heads` tell, info.model.heads is 0.
ModelInfo model_info_of(const Checkpoint& file, const TensorMap& weights, int64_t heads = 0,
                        int64_t latent_channels = 0);

// The names under which the published code saves weights and their average.
inline constexpr const char* kRawKey = "model";
inline constexpr const char* kEmaKey = "model_ema";

}  // namespace crescendo
