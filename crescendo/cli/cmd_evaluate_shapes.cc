// crescendo evaluate shapes: a class model of shapes by the exact detector.
#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/data/shapes.h"
#include "crescendo/metrics/shapes_score.h"

namespace crescendo {

namespace {

struct ShapesArguments : EvaluateArguments {
  int64_t seeds = 10;
};

// Generates `seeds` pictures of every shapes class and asks the exact detector what they show.
void run_shapes(ShapesArguments& a) {
  a.common.apply();
  const auto dir = find_model(a.model);
  const ModelInfo info = load_model_info(dir);
  check_usage(info.labels == shapes_class_names(), dir.string(),
              " is not a model of the shapes data set: its labels.txt differs");
  Request request;
  request.sampler = a.sampler.fields.given();
  const SamplerOptions sampler = a.sampler.over(info);
  const Plan plan = make_plan(sampler, info.model);
  check_score_fits(a, dir, info.model, static_cast<double>(info.model.classes) * static_cast<double>(a.seeds));
  request.seeds = seeds_from(a.seed, info.model.classes * a.seeds);
  for (int64_t i = 0; i < request.size(); ++i) request.labels.push_back(i / a.seeds);
  request.batch = a.batch;
  if (a.common.dry_run)
    return print_json(
        {{"model", dir.string()}, {"images", request.size()}, {"seed", a.seed}, {"plan", plan_to_json(plan)}});
  catch_interrupts();
  const MadePictures made = generate_pictures(a, dir, request);
  report_score(a, ShapesScorer(request.labels), made, {{"sampler", value_to_json(sampler)}});
}

}  // namespace

void add_evaluate_shapes(CLI::App& evaluate) {
  CLI::App* shapes =
      evaluate.add_subcommand("shapes", "Score a shapes model by the exact detector: colour, shape, spread");
  auto a = std::make_shared<ShapesArguments>();
  a->add(*shapes, kDefaultModel);
  add_number(*shapes, "--seeds", a->seeds, "pictures of each class", 1)->capture_default_str();
  add_examples(*shapes, {"evaluate shapes", "evaluate shapes --model runs/shapes/model --seeds 2 --cfg 2"});
  shapes->callback([a] { run_shapes(*a); });
}

}  // namespace crescendo
