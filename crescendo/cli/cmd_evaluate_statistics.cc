// crescendo evaluate stats, merge, fid, compare, weights-info: statistics of pictures, and what is done with them.
#include <ATen/ATen.h>

#include <iostream>
#include <memory>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/evaluate_args.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/sha256.h"
#include "crescendo/io/npz.h"
#include "crescendo/metrics/inception.h"

namespace crescendo {

namespace {

struct StatsArguments {
  CommonOptions common;
  NetworkArgs network;
  PictureArgs pictures;
  std::string input, out, features, logits, work;
};

void run_stats(const StatsArguments& a) {
  a.common.apply();
  a.network.check_values();
  if (a.common.dry_run) return print_json({{"pictures", a.input}, {"out", a.out}, {"network", a.network.to_json()}});
  for (const std::string& file : {a.out, a.features, a.logits})
    if (!file.empty()) check_writable(file, false);
  catch_interrupts();
  WorkFolder work(a.work, a.out);
  const auto pictures = open_pictures(a.input, a.pictures.options);
  check_usage(pictures->size() >= 2, "statistics need at least 2 pictures, ", a.input, " has ", pictures->size());
  const auto network = a.network.load(a.common);
  FeaturePassOptions pass;
  pass.batch = a.network.batch;
  pass.keep_features = !a.features.empty();
  pass.keep_logits = !a.logits.empty();
  pass.folder = work.inside("pictures");
  PictureFeatures found = feature_pass(feed_of(*pictures, a.input), *network, pass, "looking at pictures");
  check(found.complete(), "stopped after ", found.done, " of ", found.of,
        " pictures; the same command goes on from there (", work.path(), ")");
  check_usage(a.logits.empty() || found.logits.defined(), "--logits: this network gives no class scores");
  found.statistics.version = CRESCENDO_VERSION;
  make_parent(a.out);
  write_statistics(a.out, found.statistics);
  if (!a.features.empty()) write_npy(a.features, found.features.tensor());
  if (!a.logits.empty()) write_npy(a.logits, found.logits.tensor());
  work.finished();
  const Json result = {{"out", a.out},
                       {"pictures", found.done},
                       {"dim", found.statistics.pool.dim()},
                       {"spatial", found.statistics.spatial.has_value()},
                       {"identity", found.statistics.identity}};
  if (a.common.json) return print_json(result);
  log_info(concat("wrote ", a.out, ": mean and covariance of ", found.statistics.pool.dim(), " features of ",
                  found.done, " pictures"));
}

void add_stats(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "stats", "Statistics of pictures, as pytorch-fid, torch-fidelity and ADM read them: mu, sigma, mu_s, sigma_s");
  const auto a = std::make_shared<StatsArguments>();
  command->add_option("input", a->input, "folder of pictures, .npz with arr_0, .npy or shapes:...")
      ->type_name("INPUT")
      ->required();
  command->add_option("--out", a->out, "the statistics")->type_name("FILE.npz")->required();
  command->add_option("--features", a->features, "also the features of each picture (N, D)")->type_name("FILE.npy");
  command->add_option("--logits", a->logits, "also its class scores (N, K)")->type_name("FILE.npy");
  command
      ->add_option("--work", a->work,
                   "where the work is kept while it runs; a run that was stopped goes on from there (default: beside "
                   "--out)")
      ->type_name("DIR");
  a->pictures.add(*command);
  a->network.add(*command);
  a->common.add(*command);
  add_examples(*command, {"evaluate stats photos/ --side 256 --out photos.npz --weights pt_inception.pth",
                          "evaluate stats photos/ --extractor dinov2.ts --out photos-dino.npz"});
  command->callback([a] { run_stats(*a); });
}

struct MergeArguments {
  CommonOptions common;
  std::vector<std::string> files;
  std::string out;
};

void run_merge(const MergeArguments& a) {
  a.common.apply();
  check_usage(a.files.size() >= 2, "merge joins two files of statistics or more, got ", a.files.size());
  if (a.common.dry_run) return print_json({{"files", a.files}, {"out", a.out}});
  check_writable(a.out, false);
  FeatureStatistics all = read_statistics(a.files.front());
  for (size_t i = 1; i < a.files.size(); ++i) all = merge_statistics(all, read_statistics(a.files[i]));
  all.version = CRESCENDO_VERSION;
  make_parent(a.out);
  write_statistics(a.out, all);
  if (a.common.json) return print_json({{"out", a.out}, {"pictures", all.pool.count}});
  log_info(concat("wrote ", a.out, ": ", all.pool.count, " pictures of ", a.files.size(), " files"));
}

void add_merge(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("merge", "Join statistics of parts to those of the whole");
  const auto a = std::make_shared<MergeArguments>();
  command->add_option("files", a->files, "statistics with their counts, as evaluate stats writes them")
      ->type_name("FILE.npz")
      ->required();
  command->add_option("--out", a->out, "statistics of all pictures together")->type_name("FILE.npz")->required();
  a->common.add(*command);
  add_examples(*command,
               {"evaluate merge part-0.npz part-1.npz --out all.npz", "evaluate merge a.npz b.npz --out c.npz --json"});
  command->callback([a] { run_merge(*a); });
}

struct CompareArguments {
  CommonOptions common;
  MetricsArgs metrics;
  std::string real, generated, out;
};

// Files alone: no picture is looked at. `only_fid`: the one number.
void run_compare(const CompareArguments& a, bool only_fid) {
  a.common.apply();
  if (a.common.dry_run) return print_json({{"real", a.real}, {"generated", a.generated}});
  if (!a.out.empty()) check_writable(a.out, false);
  const FeatureSet real = read_feature_set(a.real), generated = read_feature_set(a.generated);
  const bool full = real.pool.defined() && generated.pool.defined();
  const bool spatial =
      real.statistics && real.statistics->spatial && generated.statistics && generated.statistics->spatial;
  EvaluationOptions measures = a.metrics.options(true, full && !only_fid, spatial && !only_fid);
  if (only_fid || a.metrics.list.empty()) measures.inception_score = false;
  EvaluationReport report = evaluate(&real, generated, measures);
  report.version = CRESCENDO_VERSION;
  report.protocol = "files";
  print_report(report, a.common, a.out);
}

void add_compare(CLI::App& evaluate, bool only_fid) {
  CLI::App* command = evaluate.add_subcommand(
      only_fid ? "fid" : "compare", only_fid ? "FID of two files of statistics or features"
                                             : "All measures of two files of statistics (.npz) or features (.npy)");
  const auto a = std::make_shared<CompareArguments>();
  command->add_option("real", a->real, "statistics .npz of any program, or features .npy (N, D)")
      ->type_name("REAL")
      ->required();
  command->add_option("generated", a->generated, "the same of the generated pictures")
      ->type_name("GENERATED")
      ->required();
  command->add_option("--out", a->out, "the report")->type_name("FILE.json");
  if (!only_fid) a->metrics.add(*command);
  a->common.add(*command);
  if (only_fid)
    add_examples(*command, {"evaluate fid real.npz samples.npz", "evaluate fid real-features.npy samples.npz --json"});
  else
    add_examples(*command, {"evaluate compare real.npz samples.npz",
                            "evaluate compare real.npy samples.npy --metrics fid,prc,kid,infinity"});
  command->callback([a, only_fid] { run_compare(*a, only_fid); });
}

struct WeightsArguments {
  CommonOptions common;
  std::string file;
};

// Missing and foreign tensors by name, so that a wrong file is told from a damaged one.
void run_weights_info(const WeightsArguments& a) {
  a.common.apply();
  if (a.common.dry_run) return print_json({{"file", a.file}});
  Json json = {{"file", a.file}, {"sha256", sha256_of_file(a.file)}};
  std::string problem;
  try {
    json["identity"] = Inception(a.file).identity();
  } catch (const Error& error) {
    problem = error.what();
  }
  json["usable"] = problem.empty();
  if (!problem.empty()) json["problem"] = problem;
  if (a.common.json) return print_json(json);
  std::cout << "file     " << a.file << "\nsha256   " << json["sha256"].get<std::string>() << "\nnetwork  "
            << (problem.empty() ? "FID's Inception of 2015-12-05, complete" : "not FID's Inception: " + problem)
            << "\n";
}

void add_weights_info(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("weights-info", "Whether a file holds FID's Inception, and its SHA-256");
  const auto a = std::make_shared<WeightsArguments>();
  command->add_option("file", a->file, "weights as pytorch-fid or torch-fidelity fetch them, or safetensors")
      ->type_name("FILE")
      ->required();
  a->common.add(*command);
  add_examples(*command, {"evaluate weights-info pt_inception-2015-12-05-6726825d.pth",
                          "evaluate weights-info inception.safetensors --json"});
  command->callback([a] { run_weights_info(*a); });
}

}  // namespace

void add_evaluate_statistics(CLI::App& evaluate) {
  add_stats(evaluate);
  add_merge(evaluate);
  add_compare(evaluate, true);
  add_compare(evaluate, false);
  add_weights_info(evaluate);
}

}  // namespace crescendo
