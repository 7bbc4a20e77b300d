// crescendo evaluate, and of its subcommands geneval: a text model of shapes by GenEval's rules.
#include "crescendo/cli/cmd_evaluate.h"

#include "crescendo/cli/model_scoring.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/metrics/geneval_score.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

namespace {

struct GenevalArguments : EvaluateArguments {
  int64_t prompts = 200;
  int64_t images = 4;
  std::string split = "all";
  std::string prompts_file, results;
  bool reconstruct = false;
  TextEncoderPlace text_encoder;
};

// Generates pictures of GenEval's six kinds of prompts, made of shapes, and judges them by its rules.
void run_geneval(GenevalArguments& a) {
  a.common.apply();
  const auto dir = find_model(a.model.empty() ? kDefaultTextModel : a.model);
  const ModelInfo info = load_model_info(dir);
  check_usage(info.model.is_text(), dir.string(),
              " makes pictures of classes; GenEval is for text models (evaluate shapes scores classes)");
  std::vector<GenevalPrompt> given;
  if (!a.prompts_file.empty()) given = read_geneval_prompts(a.prompts_file);
  const double kinds = a.prompts_file.empty()
                           ? static_cast<double>(kGenevalTags.size()) * static_cast<double>(a.prompts)
                           : static_cast<double>(given.size());
  check_score_fits(a, dir, info.model, kinds * static_cast<double>(a.images));
  std::vector<GenevalPrompt> prompts;
  if (a.prompts_file.empty())
    prompts = prompts_to_score(a.seed, a.prompts, a.images, parse_enum<Split>(a.split, "--split"));
  for (const GenevalPrompt& prompt : given) prompts.insert(prompts.end(), static_cast<size_t>(a.images), prompt);
  Request request;
  request.sampler = a.sampler.fields.given();
  const SamplerOptions sampler = a.sampler.over(info);
  const Plan plan = make_plan(sampler, info.model);
  request.seeds = seeds_from(a.seed, static_cast<int64_t>(prompts.size()));
  request.batch = a.batch;
  Json pictures = a.reconstruct ? Json{{"reconstruct", true}} : Json{{"sampler", value_to_json(sampler)}};
  if (a.common.dry_run) {
    if (!a.reconstruct) pictures = {{"plan", plan_to_json(plan)}};
    pictures.update({{"model", dir.string()}, {"images", prompts.size()}, {"seed", a.seed}});
    return print_json(pictures);
  }
  if (!a.results.empty()) check_writable(a.results, false);
  catch_interrupts();
  MadePictures made;
  if (a.reconstruct) {
    const auto split = parse_enum<Split>(a.split, "--split");
    made = reconstruct_pictures(a, dir, request.size(), [&](int64_t i, int64_t side) {
      const auto k = static_cast<uint64_t>(i);
      return render(draw_for_prompt(prompts[k], a.seed + k, split, side));
    });
  } else {
    encode_prompts(load_text_encoder(dir / kTextEncoderFolder, info.model, a.text_encoder.parsed_device(a.common),
                                     a.common.parsed_dtype()),
                   texts_of(prompts), request);
    made = generate_pictures(a, dir, request);
  }
  report_score(a, GenevalScorer(prompts, a.seed), made, pictures, a.results);
}

void add_geneval(CLI::App& evaluate) {
  CLI::App* geneval = evaluate.add_subcommand(
      "geneval", "Score a text model of shapes by GenEval's rules and the exact detector: six tasks, and chance");
  auto g = std::make_shared<GenevalArguments>();
  g->add(*geneval, kDefaultTextModel);
  add_number(*geneval, "--count", g->prompts, "prompts of each task; where a task has fewer, they repeat", 1)
      ->capture_default_str();
  add_number(*geneval, "--images", g->images, "pictures of each prompt", 1)->capture_default_str();
  geneval->add_option("--split", g->split, "pairs of colour and shape in the prompts: all, train or heldout")
      ->capture_default_str();
  geneval->add_option("--prompts", g->prompts_file,
                      "GenEval's evaluation_metadata.jsonl, of our shapes, in place of the program's own prompts");
  g->add_reconstruct(*geneval, g->reconstruct)->excludes(g->text_encoder.add(*geneval));
  geneval->add_option("--results", g->results, "FILE.jsonl: a line a picture, as the published scorer writes them");
  add_examples(*geneval, {"evaluate geneval --reconstruct",
                          "evaluate geneval --model runs/text/model --count 20 --images 1 --split heldout"});
  geneval->callback([g] { run_geneval(*g); });
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("evaluate", "Score pictures and models");
  command->require_subcommand(1);
  add_evaluate_shapes(*command);
  add_geneval(*command);
  add_train_classifier(*command);
  add_evaluate_images(*command);
  add_evaluate_statistics(*command);
  add_evaluate_fidelity(*command);
  add_evaluate_files(*command);
  add_evaluate_geneval_files(*command);
}

}  // namespace crescendo
