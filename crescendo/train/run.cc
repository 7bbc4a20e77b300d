#include "crescendo/train/run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/file.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/readable.h"
#include "crescendo/order/next_scale.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/store/transfer.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "crescendo/train/latents.h"
#include "crescendo/train/resume.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// The names of a class model's classes: those of the data, and numbers for what the model has room for besides.
std::vector<std::string> class_labels(const Recipe& recipe, const Dataset& dataset) {
  const int64_t room = recipe.config.model.classes;
  std::vector<std::string> labels = label_names(dataset.classes(), "`data` " + recipe.data);
  const auto classes = static_cast<int64_t>(labels.size());
  check_usage(classes > 0, "`data` ", recipe.data,
              " has captions, not classes; a class model needs a folder per class: DIR/<class>/*.jpg");
  check_usage(classes <= room, "the data has ", classes, " classes, model.classes is only ", room,
              "; use `model.classes=", classes, "`");
  for (int64_t i = classes; i < room; ++i) labels.push_back("class " + std::to_string(i));
  return labels;
}

// The model's own word and the sampler's options say how tokens are hidden when it is used, as `plan` does; training
// may hide them otherwise.
void warn_of_masks(const TrainConfig& config, const SamplerOptions& s, const Plan& plan) {
  const ObjectiveOptions& o = config.objective;
  const bool masked = o.mask != MaskDraw::kOff, as_model = masked == config.model.masked;
  const auto word = [](bool yes) { return yes ? "true" : "false"; };
  if (masked != plan.random_order)
    log_warning(concat("objective.mask is ", enum_name(o.mask), ", model.masked ", word(config.model.masked),
                       ", sampler.preset ", s.preset, ", sampler.mask ", word(s.mask), ": the model will be sampled ",
                       masked ? "without masks, but trained with" : "with masks, but trained without", "; `",
                       as_model ? "sampler.mask=" : "model.masked=", word(masked), "`"));
  if (!plan.random_order || s.visible_level == config.model.visible_level) return;
  log_warning(concat("objective.mask is ", enum_name(o.mask), ", objective.visible_level is ", o.visible_level,
                     ", sampler.visible_level ", s.visible_level, ", sampler.preset ", s.preset,
                     ": the sampler stored with the model will hide other tokens than training did"));
}

// What the run will be like, where that can be told before it begins.
void warn_of_config(const TrainConfig& config) {
  const SamplerOptions sampler = resolve_sampler(config.sampler, config.model);
  const Plan plan = make_plan(sampler, config.model);  // a sampler that cannot be is better found now
  warn_of_masks(config, sampler, plan);
  if (const auto warning = noise_warning(plan)) log_warning(*warning);
}

// What a run begins with, on the CPU in fp32: weights drawn anew, or those of another model. A resumed run replaces
// them.
std::unique_ptr<FarModel> first_weights(const RunOptions& run, const TrainConfig& config) {
  const auto seed = static_cast<uint64_t>(config.train.seed);
  if (run.init.empty()) return FarModel::random(config.model, seed);
  const fs::path init = find_model(run.init);
  if (run.init_partial) {
    std::vector<std::string> drawn;
    auto model = transfer_weights(init, config.model, seed, drawn);
    const size_t all = model->params().items().size(), taken = all - drawn.size();
    check(taken > 0, "no weight of ", init.string(), " fits this model");
    log_info(concat(taken, " of ", all, " tensors from ", init.string(), drawn.empty() ? "" : ", the rest drawn anew"));
    for (const std::string& name : drawn) log_verbose("drawn anew: " + name);
    return model;
  }
  ModelInfo from = load_model_info(init);
  from.model.predicts = config.model.predicts;  // no sizes, and to be learned anew
  from.model.visible_level = config.model.visible_level;
  from.model.scale_std = config.model.scale_std;
  check_usage(fields_equal(from.model, config.model), "`init` ", run.init,
              " has other sizes: ", json_text(value_to_json(from.model)),
              "; with `init_partial` what fits is taken and the rest drawn anew");
  return load_model(init, from, at::kCPU, at::kFloat);
}

// The standard deviation of a next-scale model's targets over latents from all of the data.
std::vector<double> scale_std_of(const ModelConfig& model, const LatentSource& data, uint64_t seed) {
  constexpr int64_t kMost = 4096;
  const int64_t count = std::min(kMost, data.size());
  std::vector<int64_t> indices;
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < count; ++i) {
    indices.push_back(i * data.size() / count);
    seeds.push_back(derive_seed(seed, static_cast<uint64_t>(i)));
  }
  return measured_scale_std(model, data.batch(indices, seeds).latents);
}

}  // namespace

TrainProgress run_training(const Recipe& asked, const RunOptions& run, const ChooseSamples& choose_samples,
                           const ChooseEvaluation& choose_evaluation) {
  Recipe recipe = asked;
  TrainConfig& config = recipe.config;
  const bool measures = config.objective.scale_norm && config.model.scale_std.empty();
  if (measures && run.resume)
    if (const auto begun = begun_recipe(run.out)) config.model.scale_std = begun->config.model.scale_std;
  check_run_folder(run.out, run.resume);
  const std::shared_ptr<KlVae> vae = open_tokenizer(find_tokenizer(recipe.tokenizer), run.device, at::kFloat);
  const int64_t side = config.model.latent_height * vae->config().factor();
  check_usage(config.model.latent_height == config.model.latent_width, "training images are square: latent_height ",
              config.model.latent_height, " and latent_width ", config.model.latent_width, " must be equal");
  const fs::path cache_file = run.out / "latents.safetensors";
  const auto cache = LatentCache::open(cache_file);
  const std::shared_ptr<const Dataset> dataset = without_unreadable(open_dataset(recipe.data, side), recipe.skip_bad,
                                                                    cache ? cache->has_picture() : KnownReadable());
  check_usage(config.model.latent_channels == vae->config().latent_channels, "model.latent_channels is ",
              config.model.latent_channels, ", the tokenizer has ", vae->config().latent_channels);
  if (run.resume) {
    check_same_tokenizer(run.out, recipe.tokenizer, *vae);
    check_begun_alike(run.out, recipe, [&] {
      return dataset->of_files() && cache &&
             cache->differences({*dataset, recipe.data, *vae, config.flip, side}, *dataset).empty();
    });
  }
  ModelInfo info{config.model, config.sampler, {}, {}};
  if (!config.model.is_text()) {
    info.labels = class_labels(recipe, *dataset);
    if (run.resume) check_same_classes(run.out, info.labels);
    if (config.flip) warn_of_flipped_classes(dataset->classes());
  }
  warn_of_config(config);

  const std::unique_ptr<FarModel> model = first_weights(run, config);
  model->params().to(run.device, at::kFloat);
  if (const int64_t warmup = config.train.lr_schedule.warmup_images; warmup > config.train.images / 2)
    log_warning(concat("the learning rate rises for ", warmup, " of ", config.train.images,
                       " images: little will be learned; lower train.lr_schedule.warmup_images"));
  log_info(concat("model of ", model->params().count(), " parameters, ", dataset->size(), " images, ",
                  device_description(run.device)));

  make_directories(run.out);
  std::optional<TextSide> text;
  if (config.model.is_text()) text.emplace(run, recipe, *dataset);
  const CachedLatents latents(encode_dataset(*dataset, recipe.data, *vae, config.flip, cache_file), *vae,
                              config.objective.posterior_std);
  if (measures && !run.resume) {
    config.model.scale_std = scale_std_of(config.model, latents, static_cast<uint64_t>(config.train.seed));
    log_info("standard deviation of the scales: " + join(config.model.scale_std));
    info.model = config.model;
    model->set_scale_std(config.model.scale_std);
  }
  std::optional<CaptionedLatents> captioned;
  if (text) captioned.emplace(latents, text->captions, *text->encoder, text->frozen);
  TrainHooks hooks;
  const auto samples_of = [&](SampleTask task) {
    return TrainSamples(info, vae, run.out, static_cast<uint64_t>(config.train.seed), std::move(task),
                        text ? &*text : nullptr);
  };
  hooks.on_sample = samples_of(choose_samples(info));
  if (config.train.evaluate_images > 0 && choose_evaluation)
    hooks.on_evaluate =
        samples_of(choose_evaluation(info, {dataset, side, config.model.patch * vae->config().factor()}));
  if (text && text->frozen) text->encoder.reset();  // it has read all it has to
  hooks.on_save = [&](const TrainProgress& progress, const TensorMap& weights) {
    info.training = {{"images", progress.images},
                     {"steps", progress.steps},
                     {"seconds", std::lround(progress.seconds)},
                     {"data", recipe.data}};
    const fs::path dir = run.out / kRunModel;
    TensorMap model_weights = weights;
    const TensorMap text_weights = take_text_encoder(model_weights);
    save_model(dir, info, model_weights, at::kFloat);
    save_tokenizer(dir / kTokenizerFolder, *vae);
    if (text) save_text_encoder(dir / kTextEncoderFolder, text->folder, text->tower, text_weights);
    write_json(run.out / kRecipeFile, value_to_json(recipe));
  };
  const LatentSource& source = captioned ? static_cast<const LatentSource&>(*captioned) : latents;
  return train(*model, config, source, run.out, run.resume, hooks, text ? text->learner() : nullptr);
}

}  // namespace crescendo
