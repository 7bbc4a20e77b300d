// Wherever a tokenizer is asked for: its folder, a model that has one, or a file of its weights will do.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "crescendo/store/published.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

// The folder or file that `name` stands for: a tokenizer's folder, a model directory with tokenizer/ (or such a model
// by name; empty is the default model), or a file or folder of weights. Reads no weights.
std::filesystem::path find_tokenizer(const std::string& name);

// What find_tokenizer gave, ready for use; without `dtype`, files keep the stored one and folders are fp32.
// `latent_scale` is for files that do not tell theirs; 0: not given.
std::unique_ptr<KlVae> open_tokenizer(const std::filesystem::path& found, at::Device device = at::kCPU,
                                      std::optional<at::ScalarType> dtype = {}, double latent_scale = 0);

// Of a file's KL-VAE, alone or as the first stage of a latent diffusion model; in the type that is stored. The scale is
// the one given, else what the file tells, else the published one, with a warning where the sizes are not those of the
// published tokenizer.
std::unique_ptr<KlVae> tokenizer_of(const Checkpoint& file, std::optional<WeightsChoice> choice = {},
                                    double latent_scale = 0);

// Without what training keeps beside the network, under other names: losses, discriminators, averages.
TensorMap tokenizer_tensors(const TensorMap& weights);

}  // namespace crescendo
