// What a generation takes of memory, for check_fits_memory (core/memory.h). Lower bounds: what they refuse cannot be.
#pragma once

#include <filesystem>
#include <optional>

#include "crescendo/model/config.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

// Sizes of a model directory's tokenizer; none where it has none.
std::optional<KlVaeConfig> decoder_of(const std::filesystem::path& dir);

double latent_bytes(const ModelConfig& model);                           // (C, H, W) in fp32
double picture_bytes(const ModelConfig& model, const KlVaeConfig& vae);  // 8-bit RGB
// Of each image of a batch while it is sampled and, with a tokenizer, decoded; the weights are not counted.
double sampling_bytes(const ModelConfig& model, const std::optional<KlVaeConfig>& vae);

}  // namespace crescendo
