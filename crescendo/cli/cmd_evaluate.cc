#include "crescendo/cli/cmd_evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <iomanip>
#include <iostream>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/data/shapes.h"
#include "crescendo/metrics/geneval_score.h"
#include "crescendo/metrics/shapes_score.h"
#include "crescendo/pipeline/memory.h"
#include "crescendo/pipeline/prompts.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace {

struct Arguments {
  CommonOptions common;
  SamplerArgs sampler;
  std::string model;
  uint64_t seed = 0;
  int64_t batch = 40;
};

struct ShapesArguments : Arguments {
  int64_t seeds = 10;
};

struct GenevalArguments : Arguments {
  int64_t prompts = 200;
  int64_t images = 4;
  std::string split = "all";
  std::string prompts_file, results;
  bool reconstruct = false;
  TextEncoderPlace text_encoder;
};

struct Made {
  std::vector<Image> images;  // in the order of the request
  double seconds_per_image = 0;
};

Made make_images(const Arguments& a, const std::filesystem::path& dir, const Request& request) {
  const auto pipeline = Pipeline::load(dir, {a.common.parsed_device(), a.common.parsed_dtype(), true, a.sampler.int8});
  Made made;
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

// Scenes that fit the prompts, through the model's tokenizer and back: what a model gets that draws perfect latents.
Made reconstruct_scenes(const GenevalArguments& a, const std::filesystem::path& dir, const ModelConfig& model,
                        const std::vector<GenevalPrompt>& prompts) {
  const auto vae = load_tokenizer(dir / kTokenizerFolder, a.common.parsed_device(), a.common.parsed_dtype());
  const int64_t side = model.latent_height * vae->config().factor();
  const auto split = parse_enum<Split>(a.split, "--split");
  const at::NoGradGuard no_grad;
  Made made;
  Progress bar("reconstructing");
  const double start_s = now_s();
  for (const GenevalPrompt& prompt : prompts) {
    check(!interrupted(), "stopped after ", made.images.size(), " images");
    const Image scene = render(draw_for_prompt(prompt, a.seed + made.images.size(), split, side));
    const Tensor latent = posterior_mean(vae->encode_moments(image_to_tensor(scene).unsqueeze(0)));
    made.images.push_back(tensor_to_image(vae->decode(latent)));
    bar.update(static_cast<double>(made.images.size()) / static_cast<double>(prompts.size()),
               concat(made.images.size(), " of ", prompts.size()));
  }
  made.seconds_per_image = (now_s() - start_s) / static_cast<double>(made.images.size());
  bar.finish();
  return made;
}

// Scores what was made and says how good it is; `more` goes behind the scorer's own report.
void report(const Arguments& a, const Scorer& scorer, const Made& made, const Json& more,
            const std::string& results = "") {
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

// Every picture is kept until all are there. Throws before any is made where they cannot fit into memory.
void check_fits(const Arguments& a, const std::filesystem::path& dir, const ModelConfig& model, double images) {
  const auto vae = decoder_of(dir);
  const double batch = a.common.parsed_device().is_cpu() ? std::min(images, static_cast<double>(a.batch)) : 0;
  constexpr double kAskedBytes = 32;  // of an image in the request
  check_fits_memory(
      images * (kAskedBytes + (vae ? picture_bytes(model, *vae) : 0)) + batch * sampling_bytes(model, vae),
      concat("a score of ", std::fixed, std::setprecision(0), images, " images"),
      "ask for fewer, or a smaller --batch");
}

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
  check_fits(a, dir, info.model, static_cast<double>(info.model.classes) * static_cast<double>(a.seeds));
  request.seeds = seeds_from(a.seed, info.model.classes * a.seeds);
  for (int64_t i = 0; i < request.size(); ++i) request.labels.push_back(i / a.seeds);
  request.batch = a.batch;
  if (a.common.dry_run)
    return print_json(
        {{"model", dir.string()}, {"images", request.size()}, {"seed", a.seed}, {"plan", plan_to_json(plan)}});
  catch_interrupts();
  const Made made = make_images(a, dir, request);
  report(a, ShapesScorer(request.labels), made, {{"sampler", value_to_json(sampler)}});
}

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
  check_fits(a, dir, info.model, kinds * static_cast<double>(a.images));
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
  Made made;
  if (a.reconstruct) {
    made = reconstruct_scenes(a, dir, info.model, prompts);
  } else {
    encode_prompts(load_text_encoder(dir / kTextEncoderFolder, info.model, a.text_encoder.parsed_device(a.common),
                                     a.common.parsed_dtype()),
                   texts_of(prompts), request);
    made = make_images(a, dir, request);
  }
  report(a, GenevalScorer(prompts, a.seed), made, pictures, a.results);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("evaluate", "Score pictures and models");
  command->require_subcommand(1);
  const auto add_common = [](CLI::App& sub, Arguments& a, const std::string& model) {
    sub.add_option("--model", a.model, "model directory or name (default: " + model + ")");
    add_number(sub, "--seed", a.seed, "seed of the first picture")->capture_default_str();
    add_number(sub, "--batch", a.batch, "images at a time", 1)->capture_default_str();
    a.sampler.add(sub);
    a.common.add(sub);
  };
  CLI::App* shapes =
      command->add_subcommand("shapes", "Score a shapes model by the exact detector: colour, shape, spread");
  auto a = std::make_shared<ShapesArguments>();
  add_common(*shapes, *a, kDefaultModel);
  add_number(*shapes, "--seeds", a->seeds, "pictures of each class", 1)->capture_default_str();
  add_examples(*shapes, {"evaluate shapes", "evaluate shapes --model runs/shapes/model --seeds 2 --cfg 2"});
  shapes->callback([a] { run_shapes(*a); });

  CLI::App* geneval = command->add_subcommand(
      "geneval", "Score a text model of shapes by GenEval's rules and the exact detector: six tasks, and chance");
  auto g = std::make_shared<GenevalArguments>();
  add_common(*geneval, *g, kDefaultTextModel);
  add_number(*geneval, "--count", g->prompts, "prompts of each task; where a task has fewer, they repeat", 1)
      ->capture_default_str();
  add_number(*geneval, "--images", g->images, "pictures of each prompt", 1)->capture_default_str();
  geneval->add_option("--split", g->split, "pairs of colour and shape in the prompts: all, train or heldout")
      ->capture_default_str();
  geneval->add_option("--prompts", g->prompts_file,
                      "GenEval's evaluation_metadata.jsonl, of our shapes, in place of the program's own prompts");
  CLI::Option* reconstruct =
      geneval->add_flag("--reconstruct", g->reconstruct,
                        "no sampling: pictures of the data, through the tokenizer and back; the most a model can get");
  reconstruct->excludes(g->text_encoder.add(*geneval))->excludes(geneval->get_option("--batch"));
  for (CLI::Option* option : geneval->get_options())
    if (option->get_group().starts_with("Sampler") || option->get_group() == "Precision") reconstruct->excludes(option);
  geneval->add_option("--results", g->results, "FILE.jsonl: a line a picture, as the published scorer writes them");
  add_examples(*geneval, {"evaluate geneval --reconstruct",
                          "evaluate geneval --model runs/text/model --count 20 --images 1 --split heldout"});
  geneval->callback([g] { run_geneval(*g); });

  add_evaluate_images(*command);
  add_evaluate_statistics(*command);
  add_evaluate_fidelity(*command);
  add_evaluate_files(*command);
  add_evaluate_geneval_files(*command);
}

}  // namespace crescendo
