// crescendo train: a config, and what the command line says over it -> a run.
#include <memory>
#include <utility>

#include "crescendo/cli/args.h"
#include "crescendo/cli/field_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/join.h"
#include "crescendo/data/shapes.h"
#include "crescendo/metrics/geneval_score.h"
#include "crescendo/metrics/model_scorer.h"
#include "crescendo/metrics/shapes_score.h"
#include "crescendo/train/run.h"

namespace crescendo {

namespace {

struct Arguments {
  CommonOptions common;
  RunOptions run;
  std::string config_file, preset, data, tokenizer;
  std::vector<std::string> set;
  FieldArgs fields;
  std::optional<int64_t> seed, skip_bad;
  bool dtype_given = false;
};

Recipe resolve(const Arguments& a) {
  check_usage(a.config_file.empty() || a.preset.empty(), "a config file and --preset contradict each other");
  Recipe recipe;
  if (!a.preset.empty()) {
    recipe.config = train_preset(a.preset);
    recipe.text.frozen = recipe.config.model.is_text();
  } else if (!a.config_file.empty()) {
    value_from_json(recipe, read_json(a.config_file), a.config_file);
  } else if (const auto begun = a.run.resume ? begun_recipe(a.run.out) : std::nullopt) {
    recipe = *begun;
  } else {
    usage_error(
        "what to train? Give a config file, e.g. `crescendo train configs/shapes-64.json --out runs/shapes`, or ",
        "--preset ", join(train_preset_names()), "; `crescendo train --help` says more");
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
  if (!a.data.empty()) recipe.data = a.data;
  if (!a.tokenizer.empty()) recipe.tokenizer = a.tokenizer;
  if (a.skip_bad) recipe.skip_bad = *a.skip_bad;
  if (a.seed) recipe.config.train.seed = *a.seed;
  if (a.dtype_given) recipe.config.train.precision = a.common.dtype;
  recipe.settle(a.run);
  return recipe;
}

std::function<SampleScore(const std::vector<Image>&)> scored_by(std::shared_ptr<const Scorer> scorer) {
  return [scorer](const std::vector<Image>& images) {
    Score report = scorer->score(images);
    return SampleScore{std::move(report.json), std::move(report.line)};
  };
}

// What there is a measure for: shapes have an exact detector, and scenes captions that GenEval's rules can judge.
SampleTask samples_to_score(const ModelInfo& info, const Recipe& recipe) {
  constexpr int64_t kClassSamples = 160, kEachTask = 24;
  std::shared_ptr<const Scorer> scorer;
  SampleTask task;
  if (info.labels == shapes_class_names()) {
    for (int64_t i = 0; i < kClassSamples; ++i) task.labels.push_back(i * info.model.classes / kClassSamples);
    scorer = std::make_shared<ShapesScorer>(task.labels);
  } else if (info.model.is_text() && (recipe.data == "scenes" || recipe.data.starts_with("scenes:"))) {
    auto prompts = prompts_to_score(/*seed=*/0, kEachTask, /*images=*/1, Split::kAll);
    task.prompts = texts_of(prompts);
    scorer = std::make_shared<GenevalScorer>(std::move(prompts), static_cast<uint64_t>(recipe.config.train.seed));
  }
  if (scorer) task.score = scored_by(std::move(scorer));
  return task;
}

// The classifier that evaluations measure with; null where there will be none.
std::shared_ptr<const ClassifierFeatures> evaluation_classifier(const Recipe& recipe) {
  const LoopOptions& t = recipe.config.train;
  if (t.evaluate_images == 0) return nullptr;
  const bool drawn = recipe.data.starts_with("shapes") || recipe.data.starts_with("scenes");
  check_usage(drawn || !t.evaluate_with.empty(), "train.evaluate_images needs a classifier of this data: ",
              "`train.evaluate_with` DIR; `crescendo evaluate train-classifier` makes one");
  return ClassifierFeatures::load(find_model(t.evaluate_with.empty() ? kShapesClassifier : t.evaluate_with));
}

// Pictures of every class, or of the data's captions, and all that is measured of them.
SampleTask evaluation(const ModelInfo& info, const RunData& data, int64_t pictures,
                      std::shared_ptr<const ClassifierFeatures> classifier) {
  SampleTask task;
  task.sheet = false;
  if (info.model.is_text())
    for (int64_t i = 0; i < pictures; ++i) task.prompts.push_back(data.set->caption(i % data.set->size()));
  else
    for (int64_t i = 0; i < pictures; ++i) task.labels.push_back(i * info.model.classes / pictures);
  task.score = scored_by(model_scorer({.classifier = std::move(classifier),
                                       .real = data.set,
                                       .side = data.side,
                                       .token_side = data.token_side,
                                       .images = pictures,
                                       .class_names = info.labels,
                                       .labels = task.labels}));
  return task;
}

void run(Arguments& a) {
  a.common.apply();
  a.run.device = a.common.parsed_device();
  const Recipe recipe = resolve(a);
  if (a.common.dry_run) return print_json(value_to_json(recipe));
  check_usage(!a.run.out.empty(), "where to? Use --out DIR");
  check_writable(a.run.out.string(), true);
  catch_interrupts();
  const auto classifier = evaluation_classifier(recipe);
  const TrainProgress end = run_training(
      recipe, a.run, [&](const ModelInfo& info) { return samples_to_score(info, recipe); },
      [&](const ModelInfo& info, const RunData& data) {
        return evaluation(info, data, recipe.config.train.evaluate_pictures, classifier);
      });
  if (a.common.json)
    print_json({{"images", end.images},
                {"steps", end.steps},
                {"seconds", end.seconds},
                {"loss", end.loss},
                {"model", (a.run.out / kRunModel).string()}});
  const int64_t wanted = recipe.config.train.images;
  check(end.images >= wanted, "stopped before the end, at ", end.images, " of ", wanted,
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
  command->add_option("--preset", a->preset, "in place of a config file: " + join(train_preset_names()))
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
  command->add_option("--init", a->run.init, "start from this model's weights")->type_name("DIR")->group(what);
  command
      ->add_flag("--init-partial", a->run.init_partial,
                 "--init may be another model: take what has the same name and shape, draw the rest")
      ->group(what);
  command->add_option("--out", a->run.out, "run folder: checkpoint, log.jsonl, samples, model")
      ->type_name("DIR")
      ->group(output);
  command->add_flag("--resume", a->run.resume, "go on with the run in --out")->group(output);
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
