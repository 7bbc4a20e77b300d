#include <ATen/ATen.h>

#include <filesystem>
#include <utility>

#include "crescendo/cli/args.h"
#include "crescendo/cli/field_args.h"
#include "crescendo/cli/train_resume.h"
#include "crescendo/cli/train_samples.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/readable.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/metrics/geneval_score.h"
#include "crescendo/pipeline/prompts.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/store/transfer.h"
#include "crescendo/tokenizer/tokenizer_io.h"
#include "crescendo/train/latents.h"
#include "crescendo/train/precision.h"
#include "crescendo/train/text_training.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRecipeFile = "recipe.json";  // of a run folder: all that was resolved

// What a config file holds: the run, and where its data and tokenizer are.
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
};

struct Arguments {
  CommonOptions common;
  std::string config_file, preset, data, tokenizer, out, init;
  bool resume = false, init_partial = false;
  std::vector<std::string> set;
  FieldArgs fields;
  std::optional<int64_t> seed, skip_bad;
  bool dtype_given = false;
};

// What a run that is resumed was begun with; nothing where it is not resumed, or had no time to say so.
std::optional<Recipe> begun_recipe(const Arguments& a) {
  const fs::path file = fs::path(a.out) / kRecipeFile;
  if (!a.resume || !fs::exists(file)) return std::nullopt;
  Recipe begun;
  value_from_json(begun, read_json(file), file.string());
  return begun;
}

// The text encoder that --init brings, in the recipe from then on: a resumed run finds it there, whatever config it is
// given. Empty where there is none.
std::string text_encoder_of(const Arguments& a) {
  if (!a.init.empty()) {
    const fs::path folder = find_model(a.init) / "text_encoder";
    return fs::is_directory(folder) ? folder.string() : "";
  }
  const std::optional<Recipe> begun = begun_recipe(a);
  return begun ? begun->text.encoder : "";
}

Recipe resolve(const Arguments& a) {
  check_usage(a.config_file.empty() || a.preset.empty(), "a config file and --preset contradict each other");
  check_usage(a.init.empty() || !a.resume, "--init and --resume contradict each other: a resumed run has its weights");
  check_usage(!a.init_partial || !a.init.empty(), "--init-partial goes with --init DIR");
  Recipe recipe;
  if (!a.preset.empty()) {
    recipe.config = train_preset(a.preset);
    recipe.text.frozen = recipe.config.model.is_text();
  } else if (!a.config_file.empty()) {
    value_from_json(recipe, read_json(a.config_file), a.config_file);
  } else if (const std::optional<Recipe> begun = begun_recipe(a)) {
    recipe = *begun;
  } else {
    usage_error(
        "what to train? Give a config file, e.g. `crescendo train configs/shapes-64.json --out runs/shapes`, or ",
        "--preset paper, published, paper-t2i or published-t2i; `crescendo train --help` says more");
  }
  // What the command line asks of the sampler goes over what the config asks, as in generate.
  const Json sampler = std::exchange(recipe.config.sampler, Json::object());
  Json asked = Json::object();
  // Reading drops the values that meant "as the preset" in older configs. On the command line they would do nothing.
  const auto ask = [&recipe, &asked](size_t given, const std::string& option) {
    check_usage(recipe.config.sampler.size() >= given, option,
                ": the value asks nothing of the sampler; leave the option out for the preset's");
    asked.update(std::exchange(recipe.config.sampler, Json::object()));
  };
  for (const auto& assignment : a.set) {
    set_field(recipe, assignment);
    ask(assignment.starts_with("sampler.") ? 1 : 0, "--set " + assignment);
  }
  const Json& given = a.fields.given();
  value_from_json(recipe, given, "the command line");
  ask(given.contains("sampler") ? given["sampler"].size() : 0, "--sampler");
  recipe.config.sampler = merge_asked(sampler, asked);
  if (recipe.text.encoder.empty()) recipe.text.encoder = text_encoder_of(a);
  if (!a.data.empty()) recipe.data = a.data;
  if (!a.tokenizer.empty()) recipe.tokenizer = a.tokenizer;
  if (a.skip_bad) recipe.skip_bad = *a.skip_bad;
  if (a.seed) recipe.config.train.seed = *a.seed;
  if (a.dtype_given) recipe.config.train.precision = a.common.dtype;
  check_usage(!recipe.data.empty(), "what to train on? Use --data shapes or --data FOLDER");
  check_usage(!recipe.tokenizer.empty(),
              "latents of which tokenizer? Use --tokenizer DIR (crescendo tokenizer train makes one)");
  try {
    recipe.config.model.validate();
  } catch (const Error& e) {
    usage_error(e.what());  // asked for on the command line or in the config, not found in a file of weights
  }
  recipe.config.train.validate();
  recipe.config.objective.validate();
  recipe.config.settle_model();
  if (recipe.config.model.is_text()) recipe.text.validate(recipe.config.model.text_hidden);
  return recipe;
}

// Where the text encoder to train with lies; a new one is made in the run folder when the run begins.
fs::path text_encoder_folder(const Arguments& a, const Recipe& recipe, const std::vector<std::string>& captions) {
  if (!recipe.text.encoder.empty()) return find_text_encoder(recipe.text.encoder);
  check(a.init.empty() || a.init_partial, a.init,
        " has no text_encoder to go on with; name one with --set text.encoder=");
  const fs::path folder = fs::path(a.out) / "text_encoder";
  if (!a.resume && !fs::exists(fs::path(a.out) / kCheckpointFile))
    make_text_encoder(folder, recipe.text, recipe.config.model.text_hidden, captions,
                      static_cast<uint64_t>(recipe.config.train.seed));
  return folder;
}

// The text side of a run: an encoder, and what it reads for each image.
struct TextSide {
  // Refuses at once what the captions cannot serve for.
  TextSide(const Arguments& a, const Recipe& recipe, const Dataset& dataset, at::Device device)
      : captions(captions_of(dataset)), frozen(recipe.text.frozen) {
    if (recipe.config.flip) check_flip(captions);
    folder = text_encoder_folder(a, recipe, captions);
    if (a.resume) check_same_text_encoder(a.out, folder, frozen);
    encoder = load_text_encoder(folder, recipe.config.model, device,
                                frozen ? training_dtype(recipe.config.train.precision, device) : at::kFloat);
    if (frozen) check_states_fit(static_cast<int64_t>(DistinctTexts(captions).texts.size()), *encoder);
    if (!frozen) prepare_to_train(*encoder, device);
    tower = encoder->tower().config();
    log_info(concat(frozen ? "frozen text encoder of " : "text encoder of ", total_numel(encoder->tower().weights()),
                    " parameters, ", encoder->tokenizer().vocab_size(), " tokens"));
  }

  std::vector<std::string> captions;  // of each image
  bool frozen;
  fs::path folder;  // the encoder as the run began
  Qwen2Config tower;
  std::optional<TextEncoder> encoder;
  std::optional<CaptionedLatents> latents;
};

// Scenes have captions that GenEval's rules can judge: as many of each task.
std::vector<GenevalPrompt> prompts_of(const std::string& data) {
  constexpr int64_t kEachTask = 24;
  if (data != "scenes" && !data.starts_with("scenes:")) return {};
  return prompts_to_score(/*seed=*/0, kEachTask, /*images=*/1, Split::kAll);
}

// What may not change when a run is resumed: its weights stand for it.
void check_begun_alike(const fs::path& out, const Recipe& begun, const Recipe& now, bool same_images) {
  std::error_code ignored;
  if (!same_images && !fs::equivalent(begun.data, now.data, ignored))
    refuse_change(out, "--data " + begun.data, "--data " + now.data);
  const auto word = [](bool flip) { return flip ? "flip=true" : "flip=false"; };
  if (begun.config.flip != now.config.flip) refuse_change(out, word(begun.config.flip), word(now.config.flip));
  if (!now.config.model.is_text()) return;
  Json before = value_to_json(begun.text), after = value_to_json(now.text);
  for (const auto& [key, value] : before.items())
    if (key != "encoder" && value != after[key])  // an encoder's folder may move; its files are compared
      refuse_change(out, concat("text.", key, "=", json_text(value)), concat("text.", key, "=", json_text(after[key])));
}

// What a run begins with; a resumed one replaces it.
std::unique_ptr<FarModel> first_weights(const Arguments& a, const TrainConfig& config) {
  const auto seed = static_cast<uint64_t>(config.train.seed);
  if (a.init.empty()) return FarModel::random(config.model, seed);
  const fs::path init = find_model(a.init);
  if (a.init_partial) {
    std::vector<std::string> drawn;
    auto model = transfer_weights(init, config.model, seed, drawn);
    check(drawn.size() < model->params().items().size(), "no weight of ", init.string(), " fits this model");
    log_info(concat(model->params().items().size() - drawn.size(), " of ", model->params().items().size(),
                    " tensors from ", init.string(), drawn.empty() ? "" : ", the rest drawn anew"));
    for (const std::string& name : drawn) log_verbose("drawn anew: " + name);
    return model;
  }
  ModelInfo from = load_model_info(init);
  from.model.predicts = config.model.predicts;  // no sizes, and to be learned anew
  from.model.visible_level = config.model.visible_level;
  check_usage(fields_equal(from.model, config.model), "--init ", a.init,
              " has other sizes: ", json_text(value_to_json(from.model)),
              "; with --init-partial what fits is taken and the rest drawn anew");
  return load_model(init, from, at::kCPU, at::kFloat);
}

// The model's own word and the sampler's options say how tokens are hidden when it is used, as `plan` does; training
// may hide them otherwise.
void check_masks(const TrainConfig& config, const Plan& plan) {
  const ObjectiveOptions& o = config.objective;
  const SamplerOptions s = resolve_sampler(config.sampler, config.model);
  const bool masked = o.mask != MaskDraw::kOff, as_model = masked == config.model.masked;
  if (masked != plan.random_order)
    log_warning(concat("objective.mask is ", enum_name(o.mask), ", model.masked ",
                       config.model.masked ? "true" : "false", ", sampler.preset ", s.preset, ", sampler.mask ",
                       s.mask ? "true" : "false", ": the model will be sampled ",
                       masked ? "without masks, but trained with" : "with masks, but trained without", "; --set ",
                       as_model ? "sampler.mask=" : "model.masked=", masked ? "true" : "false"));
  if (!plan.random_order || s.visible_level == config.model.visible_level) return;
  const std::string training =
      concat("objective.mask is ", enum_name(o.mask), ", objective.visible_level is ", o.visible_level);
  log_warning(concat(training, ", sampler.visible_level ", s.visible_level, ", sampler.preset ", s.preset,
                     ": the sampler stored with the model will hide other tokens than training did"));
}

void run(Arguments& a) {
  a.common.apply();
  Recipe recipe = resolve(a);
  TrainConfig& config = recipe.config;
  if (a.common.dry_run) return print_json(value_to_json(recipe));
  check_usage(!a.out.empty(), "where to? Use --out DIR");
  check_writable(a.out, true);
  check_run_folder(a.out, a.resume);
  catch_interrupts();
  const at::Device device = a.common.parsed_device();
  const std::shared_ptr<KlVae> vae = open_tokenizer(find_tokenizer(recipe.tokenizer), device, at::kFloat);
  const int64_t side = config.model.latent_height * vae->config().factor();
  check_usage(config.model.latent_height == config.model.latent_width, "training images are square: latent_height ",
              config.model.latent_height, " and latent_width ", config.model.latent_width, " must be equal");
  const fs::path cache_file = fs::path(a.out) / "latents.safetensors";
  const auto cache = LatentCache::open(cache_file);
  const std::unique_ptr<Dataset> dataset = without_unreadable(open_dataset(recipe.data, side), recipe.skip_bad,
                                                              cache ? cache->has_picture() : KnownReadable());
  check_usage(config.model.latent_channels == vae->config().latent_channels, "model.latent_channels is ",
              config.model.latent_channels, ", the tokenizer has ", vae->config().latent_channels);
  if (a.resume) {
    check_same_tokenizer(a.out, recipe.tokenizer, *vae);
    if (const auto begun = begun_recipe(a)) {
      // A folder may have moved: what is in it counts.
      const bool same_images =
          begun->data == recipe.data ||
          (dataset->of_files() && cache &&
           cache->differences({*dataset, recipe.data, *vae, recipe.config.flip, side}, *dataset).empty());
      check_begun_alike(a.out, *begun, recipe, same_images);
    }
  }
  ModelInfo info{config.model, config.sampler, {}, {}};
  if (!config.model.is_text()) {
    info.labels = label_names(dataset->classes(), "--data " + recipe.data);
    const auto classes = static_cast<int64_t>(info.labels.size());
    check_usage(classes > 0, "--data ", recipe.data,
                " has captions, not classes; a class model needs a folder per class: DIR/<class>/*.jpg");
    check_usage(classes <= config.model.classes, "the data has ", classes, " classes, model.classes is only ",
                config.model.classes, "; use --set model.classes=", classes);
    for (int64_t i = classes; i < config.model.classes; ++i) info.labels.push_back("class " + std::to_string(i));
    if (a.resume) check_same_classes(a.out, info.labels);
    if (recipe.config.flip) warn_of_flipped_classes(dataset->classes());
  }
  const Plan plan =
      make_plan(resolve_sampler(info.sampler, info.model), info.model);  // a sampler that cannot be is better found now
  check_masks(config, plan);
  if (const auto warning = noise_warning(plan)) log_warning(*warning);

  std::unique_ptr<FarModel> model = first_weights(a, config);
  model->params().to(device, at::kFloat);
  if (const int64_t warmup = config.train.lr_schedule.warmup_images; warmup > config.train.images / 2)
    log_warning(concat("the learning rate rises for ", warmup, " of ", config.train.images,
                       " images: little will be learned; lower train.lr_schedule.warmup_images"));
  log_info(concat("model of ", model->params().count(), " parameters, ", dataset->size(), " images, ",
                  device_description(device)));

  make_directories(a.out);
  std::optional<TextSide> text;
  if (config.model.is_text()) text.emplace(a, recipe, *dataset, device);
  const CachedLatents latents(encode_dataset(*dataset, recipe.data, *vae, recipe.config.flip, cache_file), *vae,
                              config.objective.posterior_std);
  TrainHooks hooks;
  const auto sample_seed = static_cast<uint64_t>(config.train.seed);
  if (text) {
    text->latents.emplace(latents, text->captions, *text->encoder, text->frozen);
    hooks.on_sample = TrainSamples(info, vae, a.out, sample_seed, *text->encoder, recipe.text.frozen,
                                   prompts_of(recipe.data), text->captions);
    if (recipe.text.frozen) text->encoder.reset();  // it has read all it has to
  } else {
    hooks.on_sample = TrainSamples(info, vae, a.out, sample_seed);
  }
  hooks.on_save = [&](const TrainProgress& progress, const TensorMap& weights) {
    info.training = {{"images", progress.images},
                     {"steps", progress.steps},
                     {"seconds", std::lround(progress.seconds)},
                     {"data", recipe.data}};
    const fs::path dir = fs::path(a.out) / "model";
    TensorMap model_weights = weights;
    const TensorMap text_weights = take_text_encoder(model_weights);
    save_model(dir, info, model_weights, at::kFloat);
    save_tokenizer(dir / "tokenizer", *vae);
    if (text) save_text_encoder(dir / "text_encoder", text->folder, text->tower, text_weights);
    write_json(fs::path(a.out) / kRecipeFile, value_to_json(recipe));
  };
  const LatentSource& source = text ? static_cast<const LatentSource&>(*text->latents) : latents;
  const TrainProgress end =
      train(*model, config, source, a.out, a.resume, hooks, text && text->encoder ? &*text->encoder : nullptr);
  if (a.common.json)
    print_json({{"images", end.images},
                {"steps", end.steps},
                {"seconds", end.seconds},
                {"loss", end.loss},
                {"model", (fs::path(a.out) / "model").string()}});
  check(end.images >= config.train.images, "stopped before the end, at ", end.images, " of ", config.train.images,
        " images; --resume goes on from there");
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train a model");
  auto a = std::make_shared<Arguments>();
  const std::string what = "What", output = "Output", over = "Over the config";
  command->add_option("config", a->config_file, "config file (JSON), e.g. configs/shapes-64.json")
      ->type_name("FILE")
      ->group(what);
  command->add_option("--preset", a->preset, "in place of a config file: paper, published, paper-t2i or published-t2i")
      ->type_name("NAME")
      ->group(what);
  command
      ->add_option("--data", a->data,
                   "shapes[:count=N,seed=S], scenes[:count=N,seed=S,split=...], a folder of images (a folder a class, "
                   "or each beside its caption in a .txt), or a file of captions")
      ->type_name("SPEC")
      ->group(what);
  command
      ->add_option("--tokenizer", a->tokenizer, "tokenizer folder, a model that has one, or a file such as kl16.ckpt")
      ->type_name("DIR")
      ->group(what);
  command->add_option("--set", a->set, "key=value over the config: --set train.lr=1e-4 is --train.lr 1e-4; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->group(what);
  add_number(*command, "--skip-bad", a->skip_bad,
             "go on without up to N images that cannot be read; they are named (default: the config's, else 0)", 0)
      ->group(what);
  add_number(*command, "--seed", a->seed, "seed of everything random (default: the config's, else 0)", 0)->group(what);
  command->add_option("--init", a->init, "start from this model's weights")->type_name("DIR")->group(what);
  command
      ->add_flag("--init-partial", a->init_partial,
                 "--init may be another model: take what has the same name and shape, draw the rest")
      ->group(what);
  command->add_option("--out", a->out, "run folder: checkpoint, log.jsonl, samples, model")
      ->type_name("DIR")
      ->group(output);
  command->add_flag("--resume", a->resume, "go on with the run in --out")->group(output);
  a->common.add(*command);
  a->fields.add<Recipe>(*command, over, {"data", "tokenizer", "skip_bad", "sampler"});
  a->fields.add<SamplerOptions>(*command, over, {}, "sampler.");
  add_examples(*command, {"train configs/shapes-64.json --out runs/shapes",
                          "train configs/shapes-64.json --out runs/shapes --resume --train.images 2000000"});
  CLI::Option* dtype = command->get_option("--dtype")
                           ->description("fp32, or bf16 for mixed precision; in place of train.precision")
                           ->default_str("");
  command->callback([a, dtype] {
    a->dtype_given = dtype->count() > 0;
    run(*a);
  });
}

}  // namespace crescendo
