#include "crescendo/pipeline/convert.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kTokenizerFolder = "tokenizer";
constexpr const char* kTextEncoderFolder = "text_encoder";

std::unique_ptr<KlVae> open_tokenizer(const fs::path& path) {
  if (fs::exists(path / kTokenizerFolder)) return load_tokenizer(path / kTokenizerFolder);  // of another model
  if (fs::exists(path / "config.json")) return load_tokenizer(path);
  const Checkpoint file = read_checkpoint(path);
  return kl_vae_from_checkpoint(tokenizer_weights(file), file.name);
}

at::ScalarType dtype_of(const TensorMap& weights) {
  const at::ScalarType first = weights.begin()->second.scalar_type();
  const bool same = std::all_of(weights.begin(), weights.end(),
                                [&](const auto& entry) { return entry.second.scalar_type() == first; });
  return same && (first == at::kHalf || first == at::kBFloat16) ? first : at::kFloat;
}

// Weights are shared where the file system can: they are large, and no program writes them in place.
void link_or_copy(const fs::path& from, const fs::path& to) {
  const fs::path file = fs::canonical(from);  // a download cache is full of symbolic links
  std::error_code error;
  if (from.extension() == ".safetensors") {
    fs::create_hard_link(file, to, error);
    if (!error) return;
  }
  fs::copy_file(file, to, error);
  check(!error, "cannot copy ", from.string(), " to ", to.string(), ": ", error.message());
}

// What a tokenizer's or text encoder's folder is read from; weights in other formats stay behind.
void link_folder(const fs::path& from, const fs::path& to) {
  make_directories(to);
  for (const auto& entry : fs::directory_iterator(from))
    for (const char* extension : {".json", ".safetensors", ".txt"})
      if (entry.is_regular_file() && entry.path().extension() == extension)
        link_or_copy(entry.path(), to / entry.path().filename());
}

void check_text_encoder(const fs::path& folder, const ModelConfig& model) {
  check(fs::is_directory(folder), "--text-encoder ", folder.string(), " is no folder");
  for (const char* needed : {"config.json", "tokenizer.json"})
    check(fs::exists(folder / needed), "--text-encoder ", folder.string(), " lacks ", needed,
          "; a folder in Hugging Face layout is wanted");
  const Json config = read_json(folder / "config.json");
  const Json hidden = config.is_object() ? config.value("hidden_size", Json()) : Json();
  check(hidden == model.text_hidden, "--text-encoder ", folder.string(), " has states of width ", hidden.dump(),
        ", the model takes ", model.text_hidden, ": they do not belong together");
}

void write_text_encoder(const OpenModel& model, const ConvertOptions& options, const fs::path& folder) {
  const fs::path from = !options.text_encoder.empty() ? options.text_encoder
                        : model.folder.empty()        ? fs::path()
                                                      : model.folder / kTextEncoderFolder;
  if (from.empty() || !fs::is_directory(from)) {
    check_usage(options.system_prompt.empty(), "--system-prompt goes with a text encoder: give --text-encoder, too");
    return;
  }
  link_folder(from, folder);
  if (!options.system_prompt.empty()) {
    fs::remove(folder / kSystemPromptFile);
    write_file_atomically(folder / kSystemPromptFile, read_file(options.system_prompt));
  } else if (!fs::exists(folder / kSystemPromptFile)) {
    log_warning("no --system-prompt: the published text model was trained with one in front of every prompt");
  }
}

void write_tokenizer(const OpenModel& model, const ConvertOptions& options, const fs::path& folder) {
  if (!options.tokenizer.empty()) return save_tokenizer(folder, *open_tokenizer(options.tokenizer));
  if (!model.folder.empty() && fs::is_directory(model.folder / kTokenizerFolder))
    link_folder(model.folder / kTokenizerFolder, folder);
}

int64_t latent_channels_of(const ConvertOptions& options) {
  return options.tokenizer.empty() ? 0 : open_tokenizer(options.tokenizer)->config().latent_channels;
}

}  // namespace

OpenModel open_model(const fs::path& given, const ConvertOptions& options) {
  const fs::path path = checkpoint_path(given);
  OpenModel out;
  out.name = path.string();
  const int64_t tokenizer_channels = latent_channels_of(options);
  if (is_model_dir(path)) {
    check_usage(options.heads == 0, "--heads is for published files; ", out.name, " knows its own");
    out.folder = path;
    out.info = load_model_info(path);
    out.weights = read_safetensors(path / "model.safetensors").tensors;
  } else {
    const Checkpoint file = read_checkpoint(path);
    out.weights = model_weights(file, options.weights);
    out.info = model_info_of(file, out.weights, options.heads, tokenizer_channels);
    if (file.config.is_null()) {
      out.info.weights = enum_name(options.weights);
      out.info.training["source"] = path.filename().string();
    }
    const ModelConfig& m = out.info.model;
    check(m.heads > 0, out.name, ": the number of attention heads cannot be read from a file, and a width of ", m.width,
          " with ", m.encoder_blocks, " + ", m.decoder_blocks, " blocks is no published size; give --heads N");
    if (m.kind == ModelKind::kFarClass && file.args.is_null() && file.config.is_null())
      log_warning(out.name +
                  " has no saved arguments: taken as trained without masks; generate --preset published-mask"
                  " samples it the other way");
  }
  const ModelConfig& m = out.info.model;
  check_usage(options.labels.empty() || !m.is_text(), "--labels is for class models, this one takes text");
  check_usage(m.is_text() || (options.text_encoder.empty() && options.system_prompt.empty()),
              "--text-encoder and --system-prompt are for text models, this one takes classes");
  check(tokenizer_channels == 0 || tokenizer_channels == m.latent_channels, "--tokenizer ", options.tokenizer.string(),
        " has ", tokenizer_channels, " latent channels, the model ", m.latent_channels,
        ": they do not belong together");
  if (!options.text_encoder.empty()) check_text_encoder(options.text_encoder, m);
  if (!options.labels.empty()) out.info.labels = read_labels(options.labels, m);
  FarModel::from(m, out.weights, out.name);  // names what is missing, surplus or misshapen
  out.dtype = options.dtype.value_or(dtype_of(out.weights));
  return out;
}

void write_model_directory(const OpenModel& model, const ConvertOptions& options, const fs::path& out) {
  write_folder_atomically(out, [&](const fs::path& folder) {
    save_model(folder, model.info, model.weights, model.dtype);
    write_tokenizer(model, options, folder / kTokenizerFolder);
    write_text_encoder(model, options, folder / kTextEncoderFolder);
  });
}

void write_published(const OpenModel& model, const fs::path& out) {
  TensorMap weights;
  for (const auto& [name, tensor] : model.weights) weights[name] = tensor.to(model.dtype).contiguous();
  // The published code asks for both sets; a model directory keeps one, whose storages serve for both.
  const PickleValue set = PickleValue::state_dict(weights);
  PickleValue::Dict root = {{PickleValue::string(kRawKey), set}, {PickleValue::string(kEmaKey), set}};
  const Json& training = model.info.training;
  if (training.is_object() && training.contains("args"))
    root.emplace_back(PickleValue::string("args"), PickleValue::from_json(training["args"]));
  root.emplace_back(PickleValue::string(kTorchConfigKey), PickleValue::string(model_info_to_json(model.info).dump()));
  write_torch_zip(out, PickleValue::dict(std::move(root)));
}

}  // namespace crescendo
