// crescendo evaluate geneval-gen, geneval-score, geneval-summary: GenEval with its own folder, rules and results.
#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <memory>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/model_pictures.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/metrics/geneval_files.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

enum class SeedRule { kOfficial, kUnique };
constexpr auto enum_table(SeedRule) {
  return std::array{EnumName{SeedRule::kOfficial, "official"}, EnumName{SeedRule::kUnique, "unique"}};
}

struct GenArguments {
  CommonOptions common;
  SamplerArgs sampler;
  TextEncoderPlace text_encoder;
  std::string prompts, out, model, seed_rule = "official";
  int64_t images = 4, batch = 8;
  uint64_t seed = 42;
};

// How the pictures of a folder were made; a run that goes on must make its own alike.
constexpr const char* kMade = "generation.json";

// The samples that are not there yet.
struct Lacking {
  Wanted wanted;
  std::vector<std::string> files;
};

Lacking lacking_samples(const GenArguments& a, const std::vector<GenevalPrompt>& prompts) {
  const auto rule = parse_enum<SeedRule>(a.seed_rule, "--seed-per-prompt");
  const auto count = static_cast<int64_t>(prompts.size());
  const auto seeds = seeds_from(a.seed, rule == SeedRule::kOfficial ? a.images : a.images * count);
  Lacking out;
  for (int64_t p = 0; p < count; ++p)
    for (int64_t i = 0; i < a.images; ++i) {
      const std::string file = geneval_sample_name(p, i);
      if (fs::exists(fs::path(a.out) / file)) continue;
      out.files.push_back(file);
      out.wanted.prompts.push_back(prompts[static_cast<size_t>(p)].prompt);
      out.wanted.seeds.push_back(seeds[static_cast<size_t>(rule == SeedRule::kOfficial ? i : p * a.images + i)]);
    }
  return out;
}

void run_gen(const GenArguments& a) {
  a.common.apply();
  const fs::path dir = find_model(a.model.empty() ? kDefaultTextModel : a.model);
  const ModelInfo info = load_model_info(dir);
  check_usage(info.model.is_text(), dir.string(), " makes pictures of classes; GenEval is for text models");
  const SamplerOptions sampler = a.sampler.over(info);
  const Json made = {{"model", dir.string()},
                     {"images", a.images},
                     {"seed", a.seed},
                     {"seed_per_prompt", a.seed_rule},
                     {"dtype", a.common.dtype},
                     {"int8", a.sampler.int8},
                     {"sampler", value_to_json(sampler)},
                     {"version", CRESCENDO_VERSION}};
  parse_enum<SeedRule>(a.seed_rule, "--seed-per-prompt");
  if (a.common.dry_run) return print_json(made);
  const std::vector<GenevalPrompt> prompts = read_geneval_prompts(a.prompts);
  check_usage(a.images <= 1'000'000 / static_cast<int64_t>(prompts.size()), "--images: ", a.images, " of each of ",
              prompts.size(), " prompts are more than a million pictures");
  check_writable(a.out, true);
  const fs::path note = fs::path(a.out) / kMade;
  if (fs::exists(note))
    check_usage(json_text(read_json(note)) == json_text(made), note.string(),
                ": the pictures there were made otherwise; choose another folder, or the same options to go on");
  write_geneval_folder(a.out, prompts);
  write_json(note, made);
  const Lacking lacking = lacking_samples(a, prompts);
  const int64_t all = static_cast<int64_t>(prompts.size()) * a.images, first = all - lacking.wanted.size();
  if (first > 0) log_info(concat(first, " of ", all, " pictures are there already"));
  catch_interrupts();
  int64_t done = 0;
  if (lacking.wanted.size() > 0) {
    const ModelPictures drawer(dir, info, a.common.parsed_device(), a.common.parsed_dtype(), a.sampler,
                               a.text_encoder.parsed_device(a.common), a.batch);
    Progress bar("generating", static_cast<double>(first) / static_cast<double>(all));
    while (done < lacking.wanted.size() && !interrupted()) {
      const int64_t count = std::min(a.batch, lacking.wanted.size() - done);
      const std::vector<Image> images = drawer.draw(lacking.wanted.part(done, count));
      if (images.empty()) break;
      for (size_t k = 0; k < images.size(); ++k) {
        const auto i = static_cast<size_t>(done) + k;
        write_png(
            fs::path(a.out) / lacking.files[i], images[k],
            {{"crescendo", json_text(Json{{"prompt", lacking.wanted.prompts[i]}, {"seed", lacking.wanted.seeds[i]}})}});
      }
      done += count;
      bar.update(static_cast<double>(first + done) / static_cast<double>(all), concat(first + done, " of ", all));
    }
    bar.finish();
  }
  check(first + done == all, "stopped after ", first + done, " of ", all,
        " pictures; the same command goes on from there");
  if (a.common.json) return print_json({{"out", a.out}, {"prompts", prompts.size()}, {"images", all}});
  log_info(concat(all, " pictures of ", prompts.size(), " prompts in ", a.out));
}

struct ScoreArguments {
  CommonOptions common;
  std::string folder, detections, out;
  GenevalThresholds thresholds;
};

void report_summary(const CommonOptions& common, const std::vector<GenevalResult>& results) {
  const GenevalSummary summary = geneval_summarise(results);
  if (common.json) return print_json(geneval_summary_to_json(summary));
  std::cout << geneval_summary_text(summary);
}

void run_score(const ScoreArguments& a) {
  a.common.apply();
  if (a.common.dry_run) return print_json({{"folder", a.folder}, {"detections", a.detections}, {"out", a.out}});
  if (!a.out.empty()) check_writable(a.out, false);
  const auto results =
      judge_geneval_samples(read_geneval_folder(a.folder), read_geneval_detections(a.detections), a.thresholds);
  if (!a.out.empty()) {
    make_parent(a.out);
    write_geneval_results(a.out, results);
  }
  report_summary(a.common, results);
}

}  // namespace

void add_evaluate_geneval_files(CLI::App& evaluate) {
  CLI::App* gen = evaluate.add_subcommand(
      "geneval-gen",
      "Draw GenEval's prompts into the folder that its scorer takes: NNNNN/metadata.jsonl, samples/NNNN.png");
  const auto g = std::make_shared<GenArguments>();
  gen->add_option("prompts", g->prompts, "GenEval's evaluation_metadata.jsonl")->type_name("FILE.jsonl")->required();
  gen->add_option("--out", g->out, "the folder; pictures that are there stay")->type_name("DIR")->required();
  gen->add_option("--model", g->model, concat("model directory or name (default: ", kDefaultTextModel, ")"));
  add_number(*gen, "--images", g->images, "pictures of each prompt", 1)->capture_default_str();
  add_number(*gen, "--seed", g->seed, "of the first picture")->capture_default_str();
  gen->add_option("--seed-per-prompt", g->seed_rule,
                  "official: every prompt begins with --seed again; unique: no two pictures share a seed")
      ->capture_default_str();
  add_number(*gen, "--batch", g->batch, "pictures at a time; does not change them", 1)->capture_default_str();
  g->text_encoder.add(*gen);
  g->sampler.add(*gen);
  g->common.add(*gen);
  add_examples(*gen, {"evaluate geneval-gen evaluation_metadata.jsonl --model far-t2i --out geneval",
                      "evaluate geneval-gen evaluation_metadata.jsonl --out geneval --seed-per-prompt unique"});
  gen->callback([g] { run_gen(*g); });

  CLI::App* score = evaluate.add_subcommand(
      "geneval-score", "Judge such a folder by GenEval's rules, from what any detector found in the pictures");
  const auto s = std::make_shared<ScoreArguments>();
  score->add_option("folder", s->folder, "NNNNN/metadata.jsonl and NNNNN/samples/*.png")->type_name("DIR")->required();
  score
      ->add_option(
          "--detections", s->detections,
          "a line a picture: {\"filename\", \"detections\": [{\"class\", \"box\": [x0, y0, x1, y1], \"score\", "
          "\"color\"}]}; or the details of a results.jsonl")
      ->type_name("FILE.jsonl")
      ->required();
  score->add_option("--out", s->out, "results.jsonl as the published scorer writes it")->type_name("FILE.jsonl");
  add_number(*score, "--threshold", s->thresholds.score, "score that a detection must pass", 0, 1)
      ->capture_default_str();
  add_number(*score, "--counting-threshold", s->thresholds.counting_score, "the same for the counting task", 0, 1)
      ->capture_default_str();
  add_number(*score, "--max-objects", s->thresholds.max_objects, "objects of a class that are kept", 1)
      ->capture_default_str();
  add_number(*score, "--position-threshold", s->thresholds.position, "share of the sizes by which centres must differ",
             0, 1)
      ->capture_default_str();
  s->common.add(*score);
  add_examples(*score, {"evaluate geneval-score geneval --detections found.jsonl --out results.jsonl",
                        "evaluate geneval-score geneval --detections results.jsonl --threshold 0.5 --json"});
  score->callback([s] { run_score(*s); });

  CLI::App* summary =
      evaluate.add_subcommand("geneval-summary", "Scores of a results.jsonl, as the published script prints");
  const auto r = std::make_shared<ScoreArguments>();
  summary->add_option("results", r->out, "results.jsonl of this program or of GenEval's scorer")
      ->type_name("FILE.jsonl")
      ->required();
  r->common.add(*summary);
  add_examples(*summary, {"evaluate geneval-summary results.jsonl", "evaluate geneval-summary results.jsonl --json"});
  summary->callback([r] {
    r->common.apply();
    if (r->common.dry_run) return print_json({{"results", r->out}});
    report_summary(r->common, read_geneval_results(r->out));
  });
}

}  // namespace crescendo
