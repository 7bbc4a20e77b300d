// Weights of one model as the start of another: other classes, another size in parts, text in place of classes.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/model/far_model.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

// A model of `config` to train, with every weight of the one in `dir` that has the same name and shape. Of tables of
// positions the tokens' rows are taken, whatever buffer stands before them. A text model takes the blocks of a class
// model in its own form; its attention to the text then starts at zero, so that it adds nothing until it has learned.
// The rest is drawn from `seed`, and its names go to `drawn`. In fp32 on the CPU.
std::unique_ptr<FarModel> transfer_weights(const std::filesystem::path& dir, const ModelConfig& config, uint64_t seed,
                                           std::vector<std::string>& drawn);

// A tokenizer of `config`, in the same way.
std::unique_ptr<KlVae> transfer_weights(const KlVae& from, const KlVaeConfig& config, uint64_t seed,
                                        std::vector<std::string>& drawn);

}  // namespace crescendo
