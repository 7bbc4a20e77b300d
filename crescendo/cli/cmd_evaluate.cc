#include <iostream>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/shapes.h"
#include "crescendo/metrics/shapes_score.h"
#include "crescendo/pipeline/pipeline.h"

namespace crescendo {

namespace {

struct ShapesArguments {
  CommonOptions common;
  SamplerArgs sampler;
  std::string model;
  int64_t seeds = 10;
  uint64_t seed = 0;
  int64_t batch = 40;
};

// Generates `seeds` pictures of every shapes class and asks the exact detector what they show.
void run_shapes(ShapesArguments& a) {
  a.common.apply();
  check_usage(a.seeds >= 1, "--seeds must be at least 1, got ", a.seeds);
  const auto dir = find_model(a.model);
  const ModelInfo info = load_model_info(dir);
  check_usage(info.labels == shapes_class_names(), dir.string(),
              " is not a model of the shapes data set: its labels.txt differs");
  Request request;
  request.sampler = a.sampler.over(info.sampler);
  const Plan plan = make_plan(request.sampler, info.model);
  for (int64_t label = 0; label < info.model.classes; ++label)
    for (int64_t i = 0; i < a.seeds; ++i) {
      request.labels.push_back(label);
      request.seeds.push_back(a.seed + static_cast<uint64_t>(label * a.seeds + i));
    }
  request.batch = a.batch;
  if (a.common.dry_run)
    return print_json(
        {{"model", dir.string()}, {"images", request.size()}, {"seed", a.seed}, {"plan", plan_to_json(plan)}});
  catch_interrupts();
  const auto pipeline = Pipeline::load(dir, {a.common.parsed_device(), a.common.parsed_dtype(), true});
  std::vector<Image> images;
  std::vector<int64_t> labels;
  Progress bar("generating");
  PipelineHooks hooks;
  hooks.on_progress = [&](double done, const std::string& detail) {
    bar.update(done, detail);
    return !interrupted();
  };
  hooks.on_image = [&](Generated g) {
    labels.push_back(request.labels[static_cast<size_t>(g.index)]);
    images.push_back(std::move(g.image));
  };
  const double start_s = now_s();
  check(pipeline->generate(request, hooks), "stopped after ", images.size(), " images");
  const double seconds = now_s() - start_s;
  bar.finish();
  const ShapesScore score = score_shapes(images, labels);
  Json out = score.to_json();
  out["seconds_per_image"] = seconds / static_cast<double>(images.size());
  out["seed"] = a.seed;
  out["sampler"] = value_to_json(request.sampler);
  if (a.common.json) return print_json(out);
  const auto line = [&](const char* name) {
    const Json& s = out[name];
    std::printf("%-14s %5.1f %%  (95 %% interval %.1f to %.1f)\n", name, 100 * s["share"].get<double>(),
                100 * s["low"].get<double>(), 100 * s["high"].get<double>());
  };
  std::printf("%ld images of %ld classes, %.2f s each\n", static_cast<long>(score.images),
              static_cast<long>(info.model.classes), seconds / static_cast<double>(images.size()));
  for (const char* name : {"found", "colour", "shape", "both"}) line(name);
  std::printf("spread of centres %.2f and of sizes %.2f of the data's\n", score.centre_spread, score.size_spread);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("evaluate", "Score a model");
  command->require_subcommand(1);
  CLI::App* shapes =
      command->add_subcommand("shapes", "Score a shapes model by the exact detector: colour, shape, spread");
  auto a = std::make_shared<ShapesArguments>();
  shapes->add_option("--model", a->model, "model directory or name (default: shapes-64)");
  shapes->add_option("--seeds", a->seeds, "pictures of each class")->capture_default_str();
  shapes->add_option("--seed", a->seed, "seed of the first picture")->check(not_negative())->capture_default_str();
  shapes->add_option("--batch", a->batch, "images at a time")->capture_default_str();
  a->sampler.add(*shapes);
  a->common.add(*shapes);
  add_examples(*shapes, {"evaluate shapes", "evaluate shapes --model runs/shapes/model --seeds 2 --cfg 2"});
  shapes->callback([a] { run_shapes(*a); });
}

}  // namespace crescendo
