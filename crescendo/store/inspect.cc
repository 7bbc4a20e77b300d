#include "crescendo/store/inspect.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/io/npz.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/store/published.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

Json tensor_json(at::ScalarType dtype, at::IntArrayRef shape) {
  return {{"dtype", dtype_name(dtype)}, {"shape", shape.vec()}};
}

Json tensors_json(const TensorMap& tensors) {
  Json out = Json::object();
  for (const auto& [name, tensor] : tensors) out[name] = tensor_json(tensor.scalar_type(), tensor.sizes());
  return out;
}

// Elements of the tensors whose names begin with one of the prefixes.
int64_t count(const TensorMap& tensors, std::initializer_list<std::string_view> prefixes) {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors)
    if (std::any_of(prefixes.begin(), prefixes.end(), [&, &n = name](auto p) { return n.starts_with(p); }))
      sum += tensor.numel();
  return sum;
}

// The message of what `read` throws, or null.
template <class F>
Json problems_of(F&& read) {
  try {
    read();
  } catch (const Error& e) {
    return e.what();
  }
  return nullptr;
}

// Throws where a tensor does not fit, with what is known already added.
void add_model(Json& out, const ModelInfo& info, const TensorMap& weights, const std::string& name) {
  ModelConfig model = info.model;
  out["kind"] = model.kind();
  out["architecture"] = value_to_json(model);
  if (model.heads == 0) {
    out["architecture"]["heads"] = nullptr;  // no trace in the file
    model.heads = 1;                         // nor in the shapes, which are checked now
  }
  const int64_t head = count(weights, {"diffloss."}), total = total_numel(weights);
  out["parameters"] = {{"backbone", total - head}, {"head", head}, {"total", total}};
  out["sampler"] = info.sampler;
  out["sampler"]["preset"] = asked_preset(info.sampler, info.model);
  FarModel::from(model, weights, name);
}

void add_vq_tokenizer(Json& out, const fs::path& path) {
  out["kind"] = "vq";
  out["problems"] = problems_of([&] {
    const auto vae = load_vq_tokenizer(path);
    out["architecture"] = value_to_json(vae->config());
    out["parameters"] = {{"codebook", vae->codebook().numel()}, {"total", vae->params().count()}};
    out["compression_ratio"] = compression_ratio(vae->config());
  });
}

// A tokenizer's own folder has a config beside the weights; a published file has not.
void add_tokenizer(Json& out, const TensorMap& weights, const fs::path& path) {
  if (is_vq_tokenizer_dir(path)) return add_vq_tokenizer(out, path);
  out["kind"] = "kl-vae";
  out["problems"] = problems_of([&] {
    const TensorMap own = tokenizer_tensors(weights);
    const auto vae = is_tokenizer_dir(path) ? load_tokenizer(path) : kl_vae_from_checkpoint(own, path.string());
    out["architecture"] = value_to_json(vae->config());
    const int64_t encoder = count(own, {"encoder.", "quant_conv."});
    out["parameters"] = {
        {"encoder", encoder}, {"decoder", vae->params().count() - encoder}, {"total", vae->params().count()}};
    out["compression_ratio"] = compression_ratio(vae->config());
    out["foreign_tensors"] = weights.size() - own.size();
  });
}

void add_sets(Json& out, const Checkpoint& file) {
  const auto stated = file.metadata.find("weights");
  out["ema"] = file.sets.contains(kEmaKey) || (stated != file.metadata.end() && stated->second == "ema");
  for (const auto& [name, set] : file.sets) {
    std::set<std::string> dtypes;
    for (const auto& entry : set) dtypes.insert(dtype_name(entry.second.scalar_type()));
    out["weights"][name] = {{"tensors", set.size()}, {"numbers", total_numel(set)}, {"dtypes", dtypes}};
  }
  for (const auto& [name, values] : file.unread)
    for (const auto& [key, what] : values) out["unread"][name.empty() ? key : name + "." + key] = what;
}

// The set that the rest is about: the one that would be converted, or the first where that is not clear.
bool add_weights(Json& out, const Checkpoint& file, WeightsKind kind, const fs::path& path) {
  const std::vector<FoundWeights> all = find_weights(file, kind);
  if (all.empty()) return false;
  FoundWeights shown = all.front();
  const Json unclear = problems_of([&] { shown = choose_weights(file, kind); });
  out["ema"] = std::any_of(all.begin(), all.end(), [](const auto& f) { return f.label == FoundWeights::Label::kEma; });
  out["shown"] = shown.set;
  if (!shown.removed.empty()) out["removed"] = shown.removed;
  if (kind == WeightsKind::kModel)
    out["problems"] = problems_of([&] {
      with_unread_named(shown, [&] {
        add_model(out, model_info_of(file, shown.tensors), shown.tensors, file.name);
        return 0;
      });
    });
  else
    add_tokenizer(out, shown.tensors, path);
  if (!unclear.is_null()) out["problems"] = unclear;
  out["tensors"] = tensors_json(shown.tensors);
  return true;
}

Json inspect_checkpoint(const fs::path& path) {
  const Checkpoint file = read_checkpoint(path);
  Json out = {{"path", file.name}, {"form", form_name(file.form)}, {"kind", "tensors"}};
  if (!file.args.is_null()) out["arguments"] = file.args;
  if (!file.metadata.empty()) out["metadata"] = file.metadata;
  if (!file.others.empty()) out["others"] = file.others;
  if (!file.foreign.empty()) out["foreign"] = file.foreign;
  if (file.sets.empty()) return out;
  add_sets(out, file);
  for (const WeightsKind kind : {WeightsKind::kModel, WeightsKind::kTokenizer})
    if (add_weights(out, file, kind, path)) return out;
  const TensorMap& first = file.sets.begin()->second;
  if (weights_kind(first) == WeightsKind::kTextEncoder) {
    out["kind"] = "text-encoder";
    out["parameters"] = {{"total", total_numel(first)}};
    out["shown"] = file.sets.begin()->first;
    out["tensors"] = tensors_json(first);
    return out;
  }
  TensorMap all;  // no set stands out
  for (const auto& [name, set] : file.sets)
    for (const auto& [key, tensor] : set) all[name.empty() ? key : name + "." + key] = tensor;
  out["tensors"] = tensors_json(all);
  return out;
}

Json inspect_arrays(const fs::path& path, FileForm form) {
  Json out = {{"path", path.string()}, {"form", form_name(form)}, {"kind", "arrays"}, {"tensors", Json::object()}};
  if (form == FileForm::kNpy) {
    const NpyHeader header = parse_npy_header(map_bytes(path));
    out["tensors"]["array"] = tensor_json(header.dtype, header.shape);
    return out;
  }
  const NpzReader reader = NpzReader::open(path);
  for (const auto& name : reader.names()) {
    const NpyHeader header = reader.header(name);
    out["tensors"][name] = tensor_json(header.dtype, header.shape);
  }
  if (reader.contains("mu") && reader.contains("sigma")) out["kind"] = "fid-statistics";
  if (reader.contains("moments")) out["kind"] = "cached-latents";
  return out;
}

Json inspect_model_dir(const fs::path& dir) {
  const ModelInfo info = load_model_info(dir);
  const fs::path file = dir / "model.safetensors";
  const TensorMap weights = read_safetensors(file).tensors;
  Json out = {{"path", dir.string()}, {"form", "model directory"}, {"kind", ""}};
  out["problems"] = problems_of([&] { add_model(out, info, weights, file.string()); });
  out["ema"] = info.weights == "ema";
  out["weights"] = {{info.weights, {{"tensors", weights.size()}, {"numbers", total_numel(weights)}}}};
  if (info.training.is_object() && info.training.contains("args")) out["arguments"] = info.training["args"];
  out["training"] = info.training;
  out["labels"] = info.labels.size();
  for (const char* part : {kTokenizerFolder, kTextEncoderFolder}) {
    out[part] = fs::is_directory(dir / part) ? inspect_path(dir / part) : Json();
    if (out[part].is_object()) out[part].erase("tensors");
  }
  out["tensors"] = tensors_json(weights);
  return out;
}

}  // namespace

Json inspect_path(const fs::path& given) {
  const fs::path path = checkpoint_path(given);
  if (is_model_dir(path)) return inspect_model_dir(path);
  const FileForm form = file_form(path);
  return form == FileForm::kNpz || form == FileForm::kNpy ? inspect_arrays(path, form) : inspect_checkpoint(path);
}

}  // namespace crescendo
