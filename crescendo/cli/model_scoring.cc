#include "crescendo/cli/model_scoring.h"

#include <algorithm>
#include <iomanip>
#include <iostream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/pipeline/memory.h"
#include "crescendo/pipeline/reconstruct.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

void EvaluateArguments::add(CLI::App& command, const std::string& default_model) {
  command.add_option("--model", model, "model directory or name (default: " + default_model + ")");
  add_number(command, "--seed", seed, "seed of the first picture")->capture_default_str();
  add_number(command, "--batch", batch, "images at a time", 1)->capture_default_str();
  sampler.add(command);
  common.add(command);
}

CLI::Option* EvaluateArguments::add_reconstruct(CLI::App& command, bool& reconstruct) {
  CLI::Option* option =
      command.add_flag("--reconstruct", reconstruct,
                       "no sampling: pictures of the data, through the tokenizer and back; the most a model can get");
  option->excludes(command.get_option("--batch"));
  for (CLI::Option* other : command.get_options())
    if (other->get_group().starts_with("Sampler") || other->get_group() == "Precision") option->excludes(other);
  return option;
}

MadePictures generate_pictures(const EvaluateArguments& a, const std::filesystem::path& dir, const Request& request) {
  const auto pipeline = Pipeline::load(dir, {a.common.parsed_device(), a.common.parsed_dtype(), true, a.sampler.int8});
  MadePictures made;
  Progress bar("generating");
  PipelineHooks hooks;
  hooks.on_progress = [&](double done, const std::string& detail) {
    bar.update(done, detail);
    return !interrupted();
  };
  hooks.on_image = [&](Generated g) { made.images.push_back(std::move(g.image)); };
  const double start_s = now_s();
  check(pipeline->generate(request, hooks), "stopped after ", made.images.size(), " images");
  made.seconds_per_image = (now_s() - start_s) / static_cast<double>(made.images.size());
  bar.finish();
  return made;
}

MadePictures reconstruct_pictures(const EvaluateArguments& a, const std::filesystem::path& dir, int64_t count,
                                  const std::function<Image(int64_t, int64_t)>& picture) {
  const auto vae = load_tokenizer(dir / kTokenizerFolder, a.common.parsed_device(), a.common.parsed_dtype());
  const int64_t side = load_model_info(dir).model.latent_height * vae->config().factor();
  MadePictures made;
  Progress bar("reconstructing");
  const double start_s = now_s();
  for (int64_t i = 0; i < count; ++i) {
    check(!interrupted(), "stopped after ", i, " images");
    made.images.push_back(reconstruct(*vae, picture(i, side)).decoded);
    bar.update(static_cast<double>(i + 1) / static_cast<double>(count), concat(i + 1, " of ", count));
  }
  made.seconds_per_image = (now_s() - start_s) / static_cast<double>(count);
  bar.finish();
  return made;
}

void report_score(const EvaluateArguments& a, const Scorer& scorer, const MadePictures& made, const Json& more,
                  const std::string& results) {
  Score r = scorer.score(made.images);
  if (!results.empty()) {
    std::string lines;
    for (const Json& picture : r.pictures) lines += json_text(picture) + "\n";
    write_file_atomically(results, lines);
  }
  r.json["seconds_per_image"] = made.seconds_per_image;
  r.json["seed"] = a.seed;
  r.json.update(more);
  if (a.common.json) return print_json(r.json);
  std::cout << r.what << concat(std::fixed, std::setprecision(2), ", ", made.seconds_per_image, " s each\n") << r.table;
}

void check_score_fits(const EvaluateArguments& a, const std::filesystem::path& dir, const ModelConfig& model,
                      double images) {
  const auto vae = decoder_of(dir);
  const double batch = a.common.parsed_device().is_cpu() ? std::min(images, static_cast<double>(a.batch)) : 0;
  constexpr double kAskedBytes = 32;  // of an image in the request
  check_fits_memory(
      images * (kAskedBytes + (vae ? picture_bytes(model, *vae) : 0)) + batch * sampling_bytes(model, vae),
      concat("a score of ", std::fixed, std::setprecision(0), images, " images"),
      "ask for fewer, or a smaller --batch");
}

}  // namespace crescendo
