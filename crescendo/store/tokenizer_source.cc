#include "crescendo/store/tokenizer_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// Where a training program keeps 1 / std of the latents: our own files in their metadata, latent diffusion as a tensor
// beside the first stage's.
std::optional<double> stored_scale(const Checkpoint& file, const FoundWeights& found) {
  if (const auto it = file.metadata.find("latent_scale"); it != file.metadata.end()) {
    double scale = 0;
    const char* end = it->second.data() + it->second.size();
    const auto [stop, error] = std::from_chars(it->second.data(), end, scale);
    check(error == std::errc() && stop == end, file.name, ": latent_scale must be a number, got '", it->second, "'");
    return scale;
  }
  const TensorMap& set = file.sets.at(found.set);
  const auto it = set.find("scale_factor");
  if (found.prefix.empty() || it == set.end() || it->second.numel() != 1) return std::nullopt;
  return it->second.to(at::kDouble).item<double>();
}

double scale_of(const Checkpoint& file, const FoundWeights& found, const KlVaeConfig& config) {
  if (const auto stored = stored_scale(file, found)) return *stored;
  const KlVaeConfig published = kl_vae_preset("kl16");
  if (config.latent_channels != published.latent_channels || config.factor() != published.factor())
    log_warning(concat(file.name, " does not tell the scale of its latents, and with ", config.latent_channels,
                       " channels and factor ", config.factor(), " it is not the published tokenizer, whose ",
                       published.latent_scale,
                       " is taken; convert it with `latent_scale`, 1 / standard deviation of the latents"));
  return published.latent_scale;
}

}  // namespace

fs::path find_tokenizer(const std::string& name) {
  const fs::path given = name;
  if (!name.empty()) {
    if (has_tokenizer(given)) return given / kTokenizerFolder;
    if (is_tokenizer_dir(given)) return given;
    // The weights of a folder: the sizes stand beside them.
    if (fs::is_regular_file(given) && is_tokenizer_dir(given.parent_path())) return given.parent_path();
    if (fs::is_regular_file(given) || (fs::is_directory(given) && !is_model_dir(given))) return given;
  }
  const fs::path model = find_model(name);
  check(has_tokenizer(model), model.string(),
        " has no tokenizer; give a folder that tokenizer train wrote, a model with a tokenizer/ folder, or a file of a "
        "KL-VAE");
  return model / kTokenizerFolder;
}

std::unique_ptr<KlVae> open_tokenizer(const fs::path& found, at::Device device, std::optional<at::ScalarType> dtype,
                                      double latent_scale) {
  if (is_tokenizer_dir(found)) {
    check_usage(latent_scale == 0, "`latent_scale` is for files that do not tell theirs; ", found.string(),
                " knows its own");
    return load_tokenizer(found, device, dtype.value_or(at::kFloat));
  }
  auto vae = tokenizer_of(read_checkpoint(found), {}, latent_scale);
  vae->params().to(device, dtype.value_or(vae->dtype()));
  return vae;
}

std::unique_ptr<KlVae> tokenizer_of(const Checkpoint& file, std::optional<WeightsChoice> choice, double latent_scale) {
  const FoundWeights found = choose_weights(file, WeightsKind::kTokenizer, choice);
  check(!found.tensors.contains("encoder.down_blocks.0.resnets.0.conv1.weight"), file.name,
        " names its tensors as diffusers does; the checkpoint that it was made from is needed");
  TensorMap weights = tokenizer_tensors(found.tensors);
  if (!found.removed.empty())
    log_info(concat(file.name, ": the tokenizer is ", found.place(), " (", weights.size(), " tensors); '",
                    join(found.removed, "', '"), "' taken off their names"));
  return with_unread_named(found, [&] {
    KlVaeConfig config = kl_vae_config_from(weights, file.name);
    config.latent_scale = latent_scale > 0 ? latent_scale : scale_of(file, found, config);
    return KlVae::from(config, std::move(weights), file.name);
  });
}

TensorMap tokenizer_tensors(const TensorMap& weights) {
  TensorMap out;
  for (const auto& [name, tensor] : weights)
    for (const char* part : {"encoder.", "decoder.", "quant_conv.", "post_quant_conv."})
      if (name.starts_with(part)) out.emplace(name, tensor);
  return out;
}

}  // namespace crescendo
