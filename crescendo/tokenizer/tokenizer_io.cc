#include "crescendo/tokenizer/tokenizer_io.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/io/safetensors.h"

namespace crescendo {

namespace {

constexpr const char* kFormat = "crescendo-tokenizer-1";
constexpr const char* kKlVae = "kl-vae";
constexpr const char* kVq = "vq";

void save(const std::filesystem::path& directory, const Params& params, const char* kind, const Json& sizes,
          const Json& training, const std::map<std::string, std::string>& metadata) {
  make_directories(directory);
  TensorMap weights = params.map();
  for (auto& [name, tensor] : weights) tensor = tensor.detach();
  Json config = {{"format", kFormat}, {"kind", kind}};
  config.update(sizes);
  if (!training.is_null()) config["training"] = training;
  write_safetensors(directory / "model.safetensors", weights, metadata);
  write_json(directory / "config.json", config);
}

// The config of a tokenizer of that kind.
template <class Config>
Config load_config(const std::filesystem::path& directory, const char* kind) {
  const auto config_path = directory / "config.json";
  Json json = read_json(config_path);
  const std::string where = config_path.string();
  check(json.is_object(), where, " is not a tokenizer's config: an object is expected");
  check(json.contains("format") && json["format"] == kFormat, where,
        " is not a tokenizer's config: \"format\" must be \"", kFormat, "\"");
  check(json.contains("kind") && json["kind"].is_string(), where,
        " is not a tokenizer's config: \"kind\" must be \"", kKlVae, "\" or \"", kVq, "\"");
  check(json["kind"] == kind, where, " is of a tokenizer of kind ", json["kind"].get<std::string>(), "; here one of kind ",
        kind, " is needed");
  for (const char* key : {"format", "kind", "training"}) json.erase(key);
  Config config;
  value_from_json(config, json, where);
  config.validate();
  return config;
}

}  // namespace

void save_tokenizer(const std::filesystem::path& directory, const KlVae& vae, const Json& training) {
  // The scale belongs to these weights, so it also lies inside their file: a pair of files from two moments is noticed.
  save(directory, vae.params(), kKlVae, value_to_json(vae.config()), training,
       {{"format", "pt"}, {"latent_scale", json_text(Json(vae.config().latent_scale))}});
}

void save_tokenizer(const std::filesystem::path& directory, const VqVae& vae, const Json& training) {
  save(directory, vae.params(), kVq, value_to_json(vae.config()), training, {{"format", "pt"}});
}

bool is_tokenizer_dir(const std::filesystem::path& directory) {
  if (!std::filesystem::is_regular_file(directory / "config.json")) return false;
  const Json config = read_json(directory / "config.json");
  return config.is_object() && config.contains("format") && config["format"] == kFormat;
}

bool is_vq_tokenizer_dir(const std::filesystem::path& directory) {
  return is_tokenizer_dir(directory) && read_json(directory / "config.json").value("kind", Json()) == kVq;
}

KlVaeConfig load_tokenizer_config(const std::filesystem::path& directory) {
  return load_config<KlVaeConfig>(directory, kKlVae);
}

std::unique_ptr<VqVae> load_vq_tokenizer(const std::filesystem::path& directory, at::Device device) {
  const auto weights_path = directory / "model.safetensors";
  auto vae = VqVae::from(load_config<VqConfig>(directory, kVq), std::move(read_safetensors(weights_path).tensors),
                         weights_path.string());
  vae->params().to(device, at::kFloat);
  return vae;
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
