#include "crescendo/store/convert.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

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

// The encoder that will lie in the model's folder: a new one, or that of the model directory that is copied.
fs::path text_encoder_of(const ConvertOptions& options, const fs::path& model_folder) {
  if (!options.text_encoder.empty()) return options.text_encoder;
  const fs::path own = model_folder / kTextEncoderFolder;
  return !model_folder.empty() && fs::is_directory(own) ? own : fs::path();
}

// All that reading prompts will need: config, every shard, names, shapes, vocabulary, pad token, length.
void check_text_encoder(const fs::path& folder, const ConvertOptions& options, const ModelConfig& model) {
  const std::string where = "`text_encoder` " + folder.string();
  check(fs::is_directory(folder), where, " is no folder; one in Hugging Face layout is wanted");
  check(fs::exists(folder / "config.json"), where, " lacks config.json; a folder in Hugging Face layout is wanted");
  check(has_tokenizer_files(folder), where,
        " lacks tokenizer.json, or vocab.json with merges.txt; a folder in Hugging Face layout is wanted");
  const Json config = read_json(folder / "config.json");
  const Json& text = config.is_object() && config.contains("text_config") ? config["text_config"] : config;
  const Json hidden = text.is_object() ? text.value("hidden_size", Json()) : Json();
  check(hidden == model.text_hidden, where, " has states of width ", json_text(hidden), ", the model takes ",
        model.text_hidden, ": they do not belong together");
  const fs::path prompt = !options.system_prompt.empty() ? options.system_prompt : folder / kSystemPromptFile;
  const TextEncoder encoder(load_bpe(folder), Qwen2::load(folder), fs::exists(prompt) ? read_file(prompt) : "",
                            model.text_length);
  const std::vector<std::string> nothing{""};
  const int64_t length = encoder.tokenize(nothing).input_ids.size(1), window = encoder.tower().config().sliding_window;
  check(window == 0 || length <= window, where, ": its sliding window of ", window, " is shorter than the ", length,
        " tokens of system prompt and text, which is not supported");
  const size_t stored = read_safetensors(folder).tensors.size(), used = encoder.tower().weights().size();
  if (stored > used)
    log_info(concat(folder.string(), ": ", stored - used, " of its ", stored,
                    " tensors are no part of the text encoder (output head, vision tower) and stay unused"));
}

void write_text_encoder(const OpenModel& model, const ConvertOptions& options, const fs::path& folder) {
  const fs::path from = text_encoder_of(options, model.folder);
  if (from.empty()) return;
  link_folder(from, folder);
  if (!options.system_prompt.empty()) {
    fs::remove(folder / kSystemPromptFile);
    write_file_atomically(folder / kSystemPromptFile, read_file(options.system_prompt));
  } else if (!fs::exists(folder / kSystemPromptFile)) {
    log_warning("no `system_prompt`: the published text model was trained with one in front of every prompt");
  }
}

void write_tokenizer(const OpenModel& model, const fs::path& folder) {
  if (model.tokenizer) return save_tokenizer(folder, *model.tokenizer);
  if (!model.folder.empty() && fs::is_directory(model.folder / kTokenizerFolder))
    link_folder(model.folder / kTokenizerFolder, folder);
}

// A published file's weights and what they are; `latent_channels` is the tokenizer's, or 0.
void take_file(OpenModel& out, const Checkpoint& file, const ConvertOptions& options, int64_t latent_channels) {
  FoundWeights found = choose_weights(file, WeightsKind::kModel, options.weights);
  out.info =
      with_unread_named(found, [&] { return model_info_of(file, found.tensors, options.heads, latent_channels); });
  if (file.config.is_null()) {
    const bool raw = found.label == FoundWeights::Label::kRaw ||
                     (found.label == FoundWeights::Label::kOpen && options.weights == WeightsChoice::kRaw);
    out.info.weights = enum_name(raw ? WeightsChoice::kRaw : WeightsChoice::kEma);
    out.info.training["source"] = fs::path(out.name).filename().string();
  }
  const ModelConfig& m = out.info.model;
  check(m.heads > 0, out.name, ": the number of attention heads cannot be read from a file, and a width of ", m.width,
        " with ", m.encoder_blocks, " + ", m.decoder_blocks, " blocks is no published size; give `heads=N`");
  if (m.order == Order::kFar && !m.is_text() && file.args.is_null() && file.config.is_null())
    log_warning(out.name +
                " has no saved arguments: taken as trained without masks; `sampler.preset=published-mask`"
                " samples it the other way");
  with_unread_named(found, [&] { return FarModel::from(m, found.tensors, out.name); });
  out.set = found.set;
  out.removed = found.removed;
  out.weights = std::move(found.tensors);
}

}  // namespace

ConvertSource read_source(const fs::path& given) {
  ConvertSource out;
  out.path = checkpoint_path(given);
  if (is_model_dir(out.path)) return out;
  out.is_tokenizer = is_tokenizer_dir(out.path);
  if (out.is_tokenizer) return out;
  out.file = read_checkpoint(out.path);
  out.is_tokenizer =
      find_weights(*out.file, WeightsKind::kModel).empty() && !find_weights(*out.file, WeightsKind::kTokenizer).empty();
  return out;
}

OpenModel open_model(const ConvertSource& source, const ConvertOptions& options) {
  OpenModel out;
  out.name = source.path.string();
  if (!options.tokenizer.empty())
    out.tokenizer = open_tokenizer(find_tokenizer(options.tokenizer.string()), at::kCPU, {}, options.latent_scale);
  const int64_t tokenizer_channels = out.tokenizer ? out.tokenizer->config().latent_channels : 0;
  if (source.file) {
    take_file(out, *source.file, options, tokenizer_channels);
  } else {
    check(!source.is_tokenizer, out.name, " is a KL-VAE, not a model; it goes with one: `tokenizer=", out.name, "`");
    check_usage(options.heads == 0, "`heads` is for published files; ", out.name, " knows its own");
    out.folder = source.path;
    out.info = load_model_info(source.path);
    out.weights = read_safetensors(source.path / "model.safetensors").tensors;
    check_usage(!options.weights || enum_name(*options.weights) == out.info.weights, out.name, " holds ",
                out.info.weights, " weights and no others");
    FarModel::from(out.info.model, out.weights, out.name);  // names what is missing, surplus or misshapen
  }
  const ModelConfig& m = out.info.model;
  check_usage(options.labels.empty() || !m.is_text(), "`labels` is for class models, this one takes text");
  check_usage(m.is_text() || (options.text_encoder.empty() && options.system_prompt.empty()),
              "`text_encoder` and `system_prompt` are for text models, this one takes classes");
  check(tokenizer_channels == 0 || tokenizer_channels == m.latent_channels, "`tokenizer` ", options.tokenizer.string(),
        " has ", tokenizer_channels, " latent channels, the model ", m.latent_channels,
        ": they do not belong together");
  const fs::path encoder = text_encoder_of(options, out.folder);
  check_usage(!encoder.empty() || options.system_prompt.empty(),
              "`system_prompt` goes with a text encoder: give `text_encoder`, too");
  if (!encoder.empty()) check_text_encoder(encoder, options, m);
  if (!options.labels.empty()) out.info.labels = read_labels(options.labels, m);
  out.dtype = options.dtype.value_or(dtype_of(out.weights));
  return out;
}

std::unique_ptr<KlVae> open_tokenizer(const ConvertSource& source, const ConvertOptions& options) {
  auto vae = source.file ? tokenizer_of(*source.file, options.weights, options.latent_scale)
                         : open_tokenizer(source.path, at::kCPU, {}, options.latent_scale);
  if (options.dtype) vae->params().to(at::kCPU, *options.dtype);
  return vae;
}

void write_tokenizer_directory(const KlVae& vae, const fs::path& out) {
  write_folder_atomically(out, [&](const fs::path& folder) { save_tokenizer(folder, vae); });
}

void write_model_directory(const OpenModel& model, const ConvertOptions& options, const fs::path& out) {
  write_folder_atomically(out, [&](const fs::path& folder) {
    save_model(folder, model.info, model.weights, model.dtype);
    write_tokenizer(model, folder / kTokenizerFolder);
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
  root.emplace_back(PickleValue::string(kTorchConfigKey),
                    PickleValue::string(json_text(model_info_to_json(model.info))));
  write_torch_zip(out, PickleValue::dict(std::move(root)));
}

}  // namespace crescendo
