#include "crescendo/pipeline/published.h"

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

std::string set_names(const Checkpoint& file) {
  std::string names;
  for (const auto& [name, set] : file.sets)
    names += (names.empty() ? "" : ", ") + (name.empty() ? "one unnamed" : name);
  return names.empty() ? "none" : names;
}

// The only set of weights, where the file gives it no name: a plain state dict.
const TensorMap* unnamed(const Checkpoint& file) {
  const auto it = file.sets.find("");
  return it != file.sets.end() && file.sets.size() == 1 ? &it->second : nullptr;
}

const Json* argument(const Checkpoint& file, const char* name) {
  if (!file.args.is_object()) return nullptr;
  const auto it = file.args.find(name);
  return it == file.args.end() ? nullptr : &*it;
}

// Masks change how a model is sampled but none of its shapes; the arguments of its training are all there is to go by.
bool trained_with_masks(const Checkpoint& file, ModelKind kind) {
  if (kind != ModelKind::kFarClass) return true;
  const Json* mask = argument(file, "mask");
  return mask && mask->is_boolean() && mask->get<bool>();
}

std::string sampler_for(const ModelConfig& model) {
  switch (model.kind) {
    case ModelKind::kFarClass:
      return model.masked ? "published-mask" : "published-nomask";
    case ModelKind::kFarText:
      return "published-t2i";
    case ModelKind::kMarClass:
      return "mar";
  }
  fail("no sampler for a model of kind ", static_cast<int>(model.kind));
}

}  // namespace

std::filesystem::path checkpoint_path(const std::filesystem::path& path) {
  const auto last = path / "checkpoint-last.pth";
  return !is_model_dir(path) && std::filesystem::exists(last) ? last : path;
}

const TensorMap& model_weights(const Checkpoint& file, WeightsChoice choice) {
  const std::string wanted = choice == WeightsChoice::kEma ? kEmaKey : kRawKey;
  const TensorMap* found = nullptr;
  if (const auto it = file.sets.find(wanted); it != file.sets.end()) found = &it->second;
  if (!found && unnamed(file)) {
    const auto stated = file.metadata.find("weights");
    if (stated == file.metadata.end() || stated->second == enum_name(choice)) found = unnamed(file);
  }
  // A file of another kind is the likelier mistake, and the better message.
  for (const auto& [name, set] : file.sets) {
    const WeightsKind kind = weights_kind(set);
    check(kind != WeightsKind::kTokenizer, file.name, " is a KL-VAE, not a model; it goes with one: --tokenizer ",
          file.name);
    check(kind != WeightsKind::kTextEncoder, file.name,
          " is a text encoder, not a model; its folder goes with one: ", "--text-encoder DIR");
  }
  check(found != nullptr, file.name, " has no ", choice == WeightsChoice::kEma ? "EMA" : "raw", " weights (", wanted,
        "); its sets of tensors: ", set_names(file),
        choice == WeightsChoice::kEma ? "; --weights raw" : "; --weights ema", " takes the others");
  return *found;
}

const TensorMap& tokenizer_weights(const Checkpoint& file) {
  for (const auto& [name, set] : file.sets)
    if (weights_kind(set) == WeightsKind::kTokenizer) return set;
  for (const auto& [name, set] : file.sets)
    check(weights_kind(set) != WeightsKind::kModel, file.name, " is a model, not a KL-VAE");
  fail(file.name, " is no KL-VAE: it has no tensor encoder.conv_in.weight; its sets of tensors: ", set_names(file));
}

ModelInfo model_info_of(const Checkpoint& file, const TensorMap& weights, int64_t heads, int64_t latent_channels) {
  if (!file.config.is_null()) return model_info_from_json(file.config, file.name);
  if (const Json* channels = argument(file, "vae_embed_dim");
      latent_channels == 0 && channels && channels->is_number_integer())
    latent_channels = channels->get<int64_t>();
  ModelInfo info;
  info.model = model_config_from(weights, file.name, heads, latent_channels);
  info.model.masked = trained_with_masks(file, info.model.kind);
  info.sampler.preset = sampler_for(info.model);
  if (!file.args.is_null()) info.training["args"] = file.args;
  return info;
}

}  // namespace crescendo
