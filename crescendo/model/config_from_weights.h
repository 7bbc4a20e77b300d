// What published weights are, read from their names and shapes.
#pragma once

#include <string>
#include <string_view>

#include "crescendo/model/config.h"
#include "crescendo/nn/params.h"

namespace crescendo {

enum class WeightsKind { kModel, kTokenizer, kTextEncoder, kOther };
WeightsKind weights_kind(const TensorMap& weights);
// The tensor that tells weights of this kind, a model's or a tokenizer's, from all others.
std::string_view telling_name(WeightsKind kind);

// The sizes of a FAR or MAR model. Four things leave no trace in shapes:
//   heads      those of B, L or H where the sizes are theirs, 64 channels each in text models, else config.heads is 0
//   the grid   taken as square, with patch 1 unless `latent_channels` (the tokenizer's; 0: not known) says otherwise
//   levels     16, as published, or as many as the grid allows
//   masked     as the default says; the training program's arguments tell
// `heads` overrides where it is not 0. Throws with the name of the tensor that is missing or has no sensible shape.
ModelConfig model_config_from(const TensorMap& weights, const std::string& source_name, int64_t heads = 0,
                              int64_t latent_channels = 0);

}  // namespace crescendo
