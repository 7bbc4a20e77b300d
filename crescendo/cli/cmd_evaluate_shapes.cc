// crescendo evaluate shapes: a class model of shapes by the exact detector, by its seams, and by quality seen through
// the classifier in the box.
#include <algorithm>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/model_scoring.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"
#include "crescendo/metrics/model_scorer.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace {

constexpr int64_t kRealPictures = 32'000;  // of which some are drawn to compare with

struct ShapesArguments : EvaluateArguments {
  int64_t seeds = 10;
  std::string classifier = kShapesClassifier;
  int64_t real_images = 4000;
  bool reconstruct = false;
};

void run_shapes(const ShapesArguments& a) {
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
  Json pictures = a.reconstruct ? Json{{"reconstruct", true}} : Json{{"sampler", value_to_json(sampler)}};
  if (a.common.dry_run) {
    if (!a.reconstruct) pictures = {{"plan", plan_to_json(plan)}};
    pictures.update({{"model", dir.string()},
                     {"images", request.size()},
                     {"seed", a.seed},
                     {"classifier", a.classifier},
                     {"real_images", a.real_images}});
    return print_json(pictures);
  }
  const auto classifier = ClassifierFeatures::load(find_model(a.classifier));
  catch_interrupts();
  const int64_t factor = load_tokenizer_config(dir / kTokenizerFolder).factor(),
                side = info.model.latent_height * factor;
  const MadePictures made =
      a.reconstruct ? reconstruct_pictures(a, dir, request.size(),
                                           [&](int64_t i, int64_t picture_side) {
                                             // Of every class as many; none that the reference below has.
                                             const int64_t index = i % a.seeds * kShapeClasses + i / a.seeds;
                                             return render(draw_single(derive_seed(a.seed, 1), index, picture_side));
                                           })
                    : generate_pictures(a, dir, request);
  const ModelScoring scoring{.classifier = classifier,
                             .real = std::make_shared<ShapesDataset>(
                                 std::max(kRealPictures, a.real_images + request.size()), /*seed=*/0, side),
                             .side = side,
                             .token_side = info.model.patch * factor,
                             .images = request.size(),
                             .class_names = info.labels,
                             .labels = request.labels,
                             .real_images = a.real_images};
  report_score(a, *model_scorer(scoring), made, pictures);
}

}  // namespace

void add_evaluate_shapes(CLI::App& evaluate) {
  CLI::App* shapes = evaluate.add_subcommand(
      "shapes", "Score a shapes model: what the exact detector sees, seams, and quality beside real pictures");
  auto a = std::make_shared<ShapesArguments>();
  a->add(*shapes, kDefaultModel);
  add_number(*shapes, "--seeds", a->seeds, "pictures of each class", 1)->capture_default_str();
  shapes->add_option("--classifier", a->classifier, "the classifier that quality is measured with")
      ->type_name("DIR")
      ->capture_default_str();
  add_number(*shapes, "--real-images", a->real_images, "real pictures to compare with", 10, 1'000'000)
      ->capture_default_str();
  a->add_reconstruct(*shapes, a->reconstruct);
  add_examples(*shapes,
               {"evaluate shapes --model runs/shapes/model --seeds 2 --cfg 2", "evaluate shapes --reconstruct"});
  shapes->callback([a] { run_shapes(*a); });
}

}  // namespace crescendo
