#include "crescendo/tokenizer/tokenizer_io.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/io/safetensors.h"

namespace crescendo {

namespace {
constexpr const char* kFormat = "crescendo-tokenizer-1";
constexpr const char* kKind = "kl-vae";
}  // namespace

void save_tokenizer(const std::filesystem::path& directory, const KlVae& vae, const Json& training) {
  make_directories(directory);
  TensorMap weights = vae.params().map();
  for (auto& [name, tensor] : weights) tensor = tensor.detach();
  Json config = {{"format", kFormat}, {"kind", kKind}};
  config.update(value_to_json(vae.config()));
  if (!training.is_null()) config["training"] = training;
  // The scale belongs to these weights, so it also lies inside their file: a pair of files from two moments is noticed.
  write_safetensors(directory / "model.safetensors", weights,
                    {{"format", "pt"}, {"latent_scale", json_text(Json(vae.config().latent_scale))}});
  write_json(directory / "config.json", config);
}

bool is_tokenizer_dir(const std::filesystem::path& directory) {
  if (!std::filesystem::is_regular_file(directory / "config.json")) return false;
  const Json config = read_json(directory / "config.json");
  return config.is_object() && config.contains("format") && config["format"] == kFormat;
}

KlVaeConfig load_tokenizer_config(const std::filesystem::path& directory) {
  const auto config_path = directory / "config.json";
  Json json = read_json(config_path);
  const std::string where = config_path.string();
  check(json.is_object(), where, " is not a tokenizer's config: an object is expected");
  const auto expect = [&](const char* key, const char* value) {
    check(json.contains(key) && json[key] == value, where, " is not a tokenizer's config: \"", key, "\" must be \"",
          value, "\"");
    json.erase(key);
  };
  expect("format", kFormat);
  expect("kind", kKind);
  json.erase("training");
  KlVaeConfig config;
  value_from_json(config, json, where);
  config.validate();
  return config;
}

std::unique_ptr<KlVae> load_tokenizer(const std::filesystem::path& directory, at::Device device, at::ScalarType dtype) {
  const KlVaeConfig config = load_tokenizer_config(directory);
  const auto weights_path = directory / "model.safetensors";
  const std::string where = (directory / "config.json").string();
  Safetensors file = read_safetensors(weights_path);
  if (const auto scale = file.metadata.find("latent_scale"); scale != file.metadata.end())
    check(scale->second == json_text(Json(config.latent_scale)), where, " gives latent_scale ", config.latent_scale,
          ", but the weights beside it were written with ", scale->second, ": the two files do not belong together");
  auto vae = KlVae::from(config, std::move(file.tensors), weights_path.string());
  vae->params().to(device, dtype);
  return vae;
}

}  // namespace crescendo
