#include "crescendo/store/transfer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <tuple>

#include "crescendo/io/safetensors.h"
#include "crescendo/store/model_dir.h"

namespace crescendo {

namespace {

// A class model's block in the form of a text model's (model/blocks.h): the affine part of each normalisation moves
// into the layer behind it, W (g x + b) + c = (W g) x + (W b + c), and one product for q, k and v becomes three.
void add_text_block(TensorMap& out, const TensorMap& source, const std::string& block) {
  const auto from = [&](const std::string& name) { return source.at(block + name).to(at::kFloat); };
  const auto behind_norm = [&](const std::string& norm, const std::string& layer) {
    const Tensor weight = from(layer + ".weight");
    return std::pair{weight * from(norm + ".weight"), at::mv(weight, from(norm + ".bias")) + from(layer + ".bias")};
  };
  const auto [qkv_weight, qkv_bias] = behind_norm("norm1", "attn.qkv");
  const auto weights = qkv_weight.chunk(3, 0), biases = qkv_bias.chunk(3, 0);
  for (size_t i = 0; i < 3; ++i) {
    const std::string layer = block + "attn1.to_" + std::string(1, "qkv"[i]);
    out[layer + ".weight"] = weights[i];
    out[layer + ".bias"] = biases[i];
  }
  std::tie(out[block + "ff.net.0.proj.weight"], out[block + "ff.net.0.proj.bias"]) = behind_norm("norm2", "mlp.fc1");
  for (const std::string part : {".weight", ".bias"}) {
    out[block + "attn1.to_out.0" + part] = from("attn.proj" + part);
    out[block + "ff.net.2" + part] = from("mlp.fc2" + part);
    out[block + "attn2.to_out.0" + part] = at::zeros_like(from("attn.proj" + part));
  }
}

// The weights of a class model under a text model's names, as far as they have a place there.
TensorMap as_text(const TensorMap& source) {
  TensorMap out = source;
  const std::string last = "mlp.fc2.weight";
  for (const auto& [name, tensor] : source)
    if (name.ends_with(last)) add_text_block(out, source, name.substr(0, name.size() - last.size()));
  return out;
}

// Copies what has the shape of its place; else the place stays as drawn.
void take(const Tensor& given, const Tensor& place, const std::string& name, std::vector<std::string>& drawn) {
  if (given.defined() && given.sizes() == place.sizes())
    place.copy_(given);
  else
    drawn.push_back(name);
}

}  // namespace

std::unique_ptr<FarModel> transfer_weights(const std::filesystem::path& dir, const ModelConfig& config, uint64_t seed,
                                           std::vector<std::string>& drawn) {
  const ModelInfo from = load_model_info(dir);
  // Whole and checked; mapped, so that only what is taken is read.
  const TensorMap own = load_model(dir, from, at::kCPU, at::kFloat)->params().map();
  const TensorMap source = config.is_text() && !from.model.is_text() ? as_text(own) : own;
  auto model = FarModel::random(config, seed);
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : model->params().items()) {
    const auto it = source.find(name);
    Tensor given = it == source.end() ? Tensor() : it->second;
    Tensor place = parameter;
    if (given.defined() && name.ends_with("pos_embed_learned") && from.model.tokens() == config.tokens()) {
      const int64_t tokens = config.tokens();
      given = given.narrow(1, given.size(1) - tokens, tokens);
      place = parameter.narrow(1, parameter.size(1) - tokens, tokens);
    }
    take(given, place, name, drawn);
  }
  return model;
}

std::unique_ptr<KlVae> transfer_weights(const KlVae& from, const KlVaeConfig& config, uint64_t seed,
                                        std::vector<std::string>& drawn) {
  const TensorMap source = from.params().map();
  auto vae = KlVae::random(config, seed);
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : vae->params().items()) {
    const auto it = source.find(name);
    take(it == source.end() ? Tensor() : it->second, parameter, name, drawn);
  }
  return vae;
}

}  // namespace crescendo
