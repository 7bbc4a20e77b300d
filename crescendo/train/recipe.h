// A run of training: what a config file says of it, and where it takes place.
#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <optional>
#include <string>

#include "crescendo/train/options.h"
#include "crescendo/train/text_training.h"

namespace crescendo {

// Where a run takes place, and what it begins with.
struct RunOptions {
  std::filesystem::path out;
  bool resume = false;
  std::string init{};         // start from this model's weights
  bool init_partial = false;  // which may be another model: take what has the same name and shape, draw the rest
  at::Device device = at::kCPU;
};

struct Recipe {
  TrainConfig config;
  std::string data;
  std::string tokenizer;
  int64_t skip_bad = 0;
  TextEncoderOptions text;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("data", s.data, "data set: shapes[:count=N,seed=S], scenes[:...], a folder of images or a file of captions");
    v("tokenizer", s.tokenizer, "tokenizer, or a model that has one");
    v("skip_bad", s.skip_bad, "images that cannot be read and may be left out; more are an error");
    v("text", s.text, "the text encoder (text models)");
    TrainConfig::fields(s.config, v);
  }
  static void read_older(Json& config) { TrainConfig::read_older(config); }

  // Fills in what follows from the rest and from the run. Throws a usage error where no run can be made of it.
  void settle(const RunOptions& run);
};

// In a run folder: the recipe as it was settled, and the model directory.
inline constexpr const char* kRecipeFile = "recipe.json";
inline constexpr const char* kRunModel = "model";

// What the run in `out` was begun with; nothing where it had no time to say so.
std::optional<Recipe> begun_recipe(const std::filesystem::path& out);

}  // namespace crescendo
