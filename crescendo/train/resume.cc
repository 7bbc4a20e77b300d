#include "crescendo/train/resume.h"

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/store/model_dir.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/text/tokenizer_json.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "crescendo/train/latent_cache.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

bool same_bytes(const fs::path& a, const fs::path& b) {
  std::error_code error;
  if (fs::file_size(a, error) != fs::file_size(b, error) || error) return false;
  if (fs::file_size(a) == 0) return true;
  const auto x = MappedFile::open(a), y = MappedFile::open(b);
  return std::ranges::equal(x->bytes(), y->bytes());
}

// What the run was begun with, what is asked for now, and how to go on.
[[noreturn]] void refuse_change(const fs::path& out, const std::string& before, const std::string& now) {
  usage_error(out.string(), ": the run was begun with ", before, ", and now it is ", now,
              "; go on as it was begun, or begin a run of its own from these weights: `init` ",
              (out / kRunModel).string(), " `out` ANOTHER");
}

}  // namespace

void check_begun_alike(const fs::path& out, const Recipe& now, const std::function<bool()>& same_images) {
  const std::optional<Recipe> begun = begun_recipe(out);
  if (!begun) return;
  std::error_code ignored;
  if (begun->data != now.data && !fs::equivalent(begun->data, now.data, ignored) && !same_images())
    refuse_change(out, "`data` " + begun->data, "`data` " + now.data);
  const auto word = [](bool flip) { return flip ? "flip=true" : "flip=false"; };
  if (begun->config.flip != now.config.flip) refuse_change(out, word(begun->config.flip), word(now.config.flip));
  if (!now.config.model.is_text()) return;
  Json before = value_to_json(begun->text), after = value_to_json(now.text);
  for (const auto& [key, value] : before.items())
    if (key != "encoder" && value != after[key])  // an encoder's folder may move; its files are compared
      refuse_change(out, concat("text.", key, "=", json_text(value)), concat("text.", key, "=", json_text(after[key])));
}

void check_same_classes(const fs::path& out, const std::vector<std::string>& labels) {
  if (!is_model_dir(out / kRunModel)) return;
  const std::vector<std::string> before = load_model_info(out / kRunModel).labels;
  if (before.size() != labels.size()) return;  // another model, which the checkpoint will refuse
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::string unnamed = "class " + std::to_string(i);
    if (before[i] == labels[i] || before[i] == unnamed) continue;
    if (labels[i] == unnamed || has(labels, before[i]) || has(before, labels[i]))
      refuse_change(out, concat("class ", i, " '", before[i], "'"), concat("'", labels[i], "'"));
    log_warning(concat("class ", i, " was called '", before[i], "' when the run was begun, and is '", labels[i],
                       "' now: its number stays"));
  }
}

void check_same_tokenizer(const fs::path& out, const std::string& name, const KlVae& vae) {
  const fs::path saved = out / kRunModel / kTokenizerFolder;
  if (!fs::exists(saved / "config.json")) return;
  if (tokenizer_fingerprint(*load_tokenizer(saved)) != tokenizer_fingerprint(vae))
    refuse_change(out, "the tokenizer in " + saved.string(), "`tokenizer` " + name + " with other weights");
}

void check_same_text_encoder(const fs::path& out, const fs::path& folder, bool frozen) {
  const fs::path saved = out / kRunModel / kTextEncoderFolder;
  if (!fs::is_directory(saved)) return;
  const auto refuse = [&](const std::string& what) {
    refuse_change(out, "the text encoder in " + saved.string(),
                  concat("that in ", folder.string(), ", with another ", what));
  };
  const TokenizerFiles before = TokenizerFiles::read(saved), now = TokenizerFiles::read(folder);
  if (before.tokenizer_json != now.tokenizer_json || before.tokenizer_config_json != now.tokenizer_config_json)
    refuse("tokenizer");
  const auto has_prompt = [](const fs::path& of) { return fs::exists(of / kSystemPromptFile); };
  if (has_prompt(saved) != has_prompt(folder) ||
      (has_prompt(saved) && !same_bytes(saved / kSystemPromptFile, folder / kSystemPromptFile)))
    refuse(kSystemPromptFile);
  if (!frozen) return;
  for (const auto& entry : fs::directory_iterator(saved)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name == "config.json" || name.find(".safetensors") != std::string::npos;
    if (weights && !same_bytes(entry.path(), folder / name)) refuse(name);
  }
}

void warn_of_flipped_classes(const std::vector<std::string>& classes) {
  const auto found = std::find_if(classes.begin(), classes.end(), names_side);
  if (found != classes.end())
    log_warning(concat("flip mirrors half of the images, and the class '", *found,
                       "' names a side; use `flip=false` where that matters"));
}

}  // namespace crescendo
