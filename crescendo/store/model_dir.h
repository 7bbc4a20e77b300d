// A model directory (docs/formats.md) and where models are looked up.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/model/far_model.h"
#include "crescendo/order/sampler_options.h"

namespace crescendo {

struct ModelInfo {
  ModelConfig model;
  Json sampler = Json::object();    // what it asks of its sampler (resolve_sampler)
  std::vector<std::string> labels;  // class models: name of each class; may be empty
  Json training = Json::object();   // summary of how it came about, free-form
  std::string weights = "ema";      // or "raw": which of the two a training run keeps
};

// The default models in the box.
constexpr const char* kDefaultModel = "shapes-64";
constexpr const char* kDefaultTextModel = "shapes-text-64";  // for prompts

// Parts of a model directory.
constexpr const char* kTokenizerFolder = "tokenizer";
constexpr const char* kTextEncoderFolder = "text_encoder";
bool has_tokenizer(const std::filesystem::path& dir);

// `name` is a directory, or a name looked up in $CRESCENDO_MODELS and among the models in the box; empty is the default
// model. Throws with the places that were searched.
std::filesystem::path find_model(const std::string& name);

// Writes config.json, labels.txt and model.safetensors; the tokenizer is saved apart (tokenizer/tokenizer_io.h).
void save_model(const std::filesystem::path& dir, const ModelInfo& info, const TensorMap& weights,
                at::ScalarType dtype);
ModelInfo load_model_info(const std::filesystem::path& dir);

// A folder whose config.json says that it is a model directory.
bool is_model_dir(const std::filesystem::path& dir);
// config.json without the labels, there and back. `where` names it in errors.
Json model_info_to_json(const ModelInfo& info);
ModelInfo model_info_from_json(const Json& config, const std::string& where);
// Names as labels.txt can hold them: clean_text of each. Throws where one has a control character, such as a line end;
// `where` names the place they come from.
std::vector<std::string> label_names(const std::vector<std::string>& names, const std::string& where);
// One name a line, blank lines at the end left out; their number must be that of the model's classes.
std::vector<std::string> read_labels(const std::filesystem::path& file, const ModelConfig& model);

// Mapped where nothing has to be converted.
std::unique_ptr<FarModel> load_model(const std::filesystem::path& dir, const ModelInfo& info, at::Device device,
                                     at::ScalarType dtype);
// A class by name (case and spaces as in labels.txt; the error lists near ones), or by number: a text that is no name,
// or `id:` in front of it. A name that several classes have is an error which tells their numbers.
int64_t find_class(const ModelInfo& info, const std::string& name);
std::string class_name(const ModelInfo& info, int64_t label);

}  // namespace crescendo
