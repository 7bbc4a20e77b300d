#include "crescendo/store/model_dir.h"

#include <ATen/ATen.h>

#include <cstdlib>
#include <sstream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/join.h"
#include "crescendo/core/number.h"
#include "crescendo/core/utf8.h"
#include "crescendo/io/safetensors.h"

#ifndef CRESCENDO_SOURCE_MODELS
#define CRESCENDO_SOURCE_MODELS "models"
#endif

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "crescendo-model-1";
constexpr std::string_view kNumberPrefix = "id:";  // of a class that is asked for by number

// Models in the box stand beside an installed program, or in the checkout that it was built from.
std::vector<fs::path> model_folders() {
  std::vector<fs::path> out;
  if (const char* variable = std::getenv("CRESCENDO_MODELS"); variable && *variable) {
    std::istringstream list(variable);
    for (std::string item; std::getline(list, item, ':');)
      if (!item.empty()) out.emplace_back(item);
  }
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) {
    out.push_back(program.parent_path().parent_path() / "models");
    out.push_back(program.parent_path().parent_path() / "share/crescendo/models");
  }
  out.emplace_back(CRESCENDO_SOURCE_MODELS);
  return out;
}

}  // namespace

fs::path find_model(const std::string& given) {
  const std::string name = given.empty() ? kDefaultModel : given;
  if (fs::exists(fs::path(name) / "config.json")) return name;
  check(!fs::is_regular_file(name), name, " is a file, not a model directory; `crescendo convert ", name,
        "` makes one of a checkpoint");
  const std::vector<fs::path> searched = model_folders();
  std::vector<std::string> known;
  for (const fs::path& folder : searched) {
    if (fs::exists(folder / name / "config.json")) return folder / name;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (fs::exists(entry.path() / "config.json")) known.push_back(entry.path().filename().string());
  }
  fail("no model '", name, "': it is no folder with a config.json, and there is none of that name in ",
       join(searched, ", ", [](const fs::path& folder) { return folder.string(); }), did_you_mean(name, known));
}

void save_model(const fs::path& dir, const ModelInfo& info, const TensorMap& weights, at::ScalarType dtype) {
  make_directories(dir);
  TensorMap stored;
  for (const auto& [name, tensor] : weights) stored[name] = tensor.detach().to(at::kCPU, dtype).contiguous();
  const Json config = model_info_to_json(info);
  // The weights describe themselves, too.
  write_safetensors(dir / "model.safetensors", stored,
                    {{"format", kFormat}, {"weights", info.weights}, {"config", json_text(config)}});
  std::string labels;
  for (const auto& label : info.labels) labels += label + "\n";
  if (!labels.empty()) write_file_atomically(dir / "labels.txt", labels);
  write_json(dir / "config.json", config);
}

bool has_tokenizer(const fs::path& dir) { return fs::exists(dir / kTokenizerFolder / "config.json"); }

bool is_model_dir(const fs::path& dir) {
  if (!fs::is_regular_file(dir / "config.json")) return false;
  const Json config = read_json(dir / "config.json");
  return config.is_object() && config.contains("format") && config["format"] == kFormat;
}

Json model_info_to_json(const ModelInfo& info) {
  return {{"format", kFormat},
          {"model", value_to_json(info.model)},
          {"sampler", info.sampler},
          {"weights", info.weights},
          {"training", info.training}};
}

ModelInfo model_info_from_json(const Json& config, const std::string& where) {
  check(config.is_object() && config.contains("format") && config["format"] == kFormat, where, " has not the format ",
        kFormat, "; `crescendo convert` makes a model directory from published checkpoints");
  ModelInfo info;
  try {
    for (const auto& [key, value] : config.items()) {
      if (key == "model")
        value_from_json(info.model, value, where + ": model");
      else if (key == "sampler")
        info.sampler = older_sampler(value);
      else if (key == "training")
        info.training = value;
      else if (key == "weights")
        value_from_json(info.weights, value, where + ": weights");
      else
        check(key == "format", where, " has no key '", key,
              "'; it may hold format, model, sampler, weights and training");
    }
    info.model.validate();
    check_asked(info.sampler);
  } catch (const Error& e) {
    fail(e.what());  // a fault of the file, not of the command line
  }
  return info;
}

std::vector<std::string> label_names(const std::vector<std::string>& names, const std::string& where) {
  std::vector<std::string> labels;
  for (const auto& name : names) {
    labels.push_back(clean_text(name));
    check(printable(labels.back()) == labels.back(), where, ": the class name '", labels.back(),
          "' has a control character, which labels.txt cannot hold; rename it");
  }
  return labels;
}

std::vector<std::string> read_labels(const fs::path& file, const ModelConfig& model) {
  const std::string text = read_text_file(file);
  auto lines = text_lines(text);
  const auto wanted = static_cast<size_t>(model.classes);
  while (lines.size() > wanted && lines.back().find_first_not_of(" \t") == std::string_view::npos) lines.pop_back();
  check(model.is_text() || lines.size() == wanted, file.string(), " has ", lines.size(), " lines, the model ", wanted,
        " classes");
  return label_names({lines.begin(), lines.end()}, file.string());
}

ModelInfo load_model_info(const fs::path& dir) {
  const fs::path path = dir / "config.json";
  check(fs::exists(path), dir.string(), " is not a model directory: it has no config.json");
  ModelInfo info = model_info_from_json(read_json(path), path.string());
  if (fs::exists(dir / "labels.txt")) info.labels = read_labels(dir / "labels.txt", info.model);
  return info;
}

std::unique_ptr<FarModel> load_model(const fs::path& dir, const ModelInfo& info, at::Device device,
                                     at::ScalarType dtype) {
  Safetensors file = read_safetensors(dir / "model.safetensors");
  auto model = FarModel::from(info.model, std::move(file.tensors), (dir / "model.safetensors").string());
  model->params().to(device, dtype);
  return model;
}

int64_t find_class(const ModelInfo& info, const std::string& name) {
  check_usage(!info.model.is_text(), "this model makes pictures from text: give `text`, not `labels`");
  const std::string asked = clean_text(name);
  std::vector<int64_t> found;
  for (size_t i = 0; i < info.labels.size(); ++i)
    if (info.labels[i] == asked) found.push_back(static_cast<int64_t>(i));
  check_usage(found.size() <= 1, "the class name '", asked, "' stands ", found.size(),
              " times in labels.txt, with the numbers ", join(found), "; ask by number, e.g. `labels=", kNumberPrefix,
              found.empty() ? 0 : found.back(), "`");
  if (!found.empty()) return found.front();
  const bool prefixed = asked.starts_with(kNumberPrefix);
  const std::string digits = asked.substr(prefixed ? kNumberPrefix.size() : 0);
  if (prefixed || (!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos)) {
    const auto number = parse_number<int64_t>(digits);
    check_usage(number && *number >= 0 && *number < info.model.classes, "class numbers run from 0 to ",
                info.model.classes - 1, ", got ", digits);
    return *number;
  }
  check_usage(!info.labels.empty(), "this model's classes have no names (no labels.txt); give a number from 0 to ",
              info.model.classes - 1, ", got '", asked, "'");
  const std::string meant = did_you_mean(asked, info.labels);
  usage_error("no class '", asked, "'", meant.empty() ? "." : meant, " The names stand in labels.txt; '",
              info.labels.front(), "' is the first");
}

std::string class_name(const ModelInfo& info, int64_t label) {
  const auto i = static_cast<size_t>(label);
  return i < info.labels.size() ? info.labels[i] : "class " + std::to_string(label);
}

}  // namespace crescendo
