#include "crescendo/train/recipe.h"

#include "crescendo/core/check.h"
#include "crescendo/store/model_dir.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// The text encoder that the weights to start from bring, in the recipe from then on: a resumed run finds it there,
// whatever config it is given. Empty where there is none.
std::string text_encoder_of(const RunOptions& run) {
  if (!run.init.empty()) {
    const fs::path folder = find_model(run.init) / kTextEncoderFolder;
    return fs::is_directory(folder) ? folder.string() : "";
  }
  const std::optional<Recipe> begun = run.resume ? begun_recipe(run.out) : std::nullopt;
  return begun ? begun->text.encoder : "";
}

}  // namespace

void Recipe::settle(const RunOptions& run) {
  check_usage(run.init.empty() || !run.resume,
              "`init` and `resume` contradict each other: a resumed run has its weights");
  check_usage(!run.init_partial || !run.init.empty(), "`init_partial` goes with `init` DIR");
  if (text.encoder.empty()) text.encoder = text_encoder_of(run);
  check_usage(!data.empty(), "what to train on? Use `data` shapes or `data` FOLDER");
  check_usage(!tokenizer.empty(),
              "latents of which tokenizer? Use `tokenizer` DIR (crescendo tokenizer train makes one)");
  try {
    config.model.validate();
  } catch (const Error& e) {
    usage_error(e.what());  // asked for, not found in a file of weights
  }
  config.train.validate();
  config.objective.validate();
  config.settle_model();
  if (config.model.is_text()) text.validate(config.model.text_hidden);
}

std::optional<Recipe> begun_recipe(const fs::path& out) {
  const fs::path file = out / kRecipeFile;
  if (!fs::exists(file)) return std::nullopt;
  Recipe begun;
  value_from_json(begun, read_json(file), file.string());
  return begun;
}

}  // namespace crescendo
