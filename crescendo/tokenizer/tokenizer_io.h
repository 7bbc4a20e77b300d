// A tokenizer on disk: DIR/config.json (kind, sizes, latent scale, training summary) and DIR/model.safetensors.
#pragma once

#include <filesystem>
#include <memory>

#include "crescendo/core/json.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/tokenizer/vq_vae.h"

namespace crescendo {

// `training` is kept in config.json as it is; null: none.
void save_tokenizer(const std::filesystem::path& directory, const KlVae& vae, const Json& training = nullptr);
void save_tokenizer(const std::filesystem::path& directory, const VqVae& vae, const Json& training = nullptr);

// A folder whose config.json says that it is a tokenizer's.
bool is_tokenizer_dir(const std::filesystem::path& directory);
// Whether such a folder holds a VQ tokenizer and not a KL-VAE.
bool is_vq_tokenizer_dir(const std::filesystem::path& directory);
KlVaeConfig load_tokenizer_config(const std::filesystem::path& directory);

// From a tokenizer's folder, ready for use: on `device`, in `dtype`, without gradients.
std::unique_ptr<KlVae> load_tokenizer(const std::filesystem::path& directory, at::Device device = at::kCPU,
                                      at::ScalarType dtype = at::kFloat);
std::unique_ptr<VqVae> load_vq_tokenizer(const std::filesystem::path& directory, at::Device device = at::kCPU);

}  // namespace crescendo
