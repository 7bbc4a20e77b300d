// crescendo evaluate fidelity: torch-fidelity's flags, protocol and names, so that scripts need not change.
#include <cstdio>
#include <memory>
#include <optional>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/evaluate_args.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"

namespace crescendo {

namespace {

struct Arguments {
  CommonOptions common;
  NetworkArgs network;
  std::string input1, input2, statistics, work;
  bool isc = false, fid = false, kid = false, prc = false, deep = false;
  int64_t splits = 10, kid_subsets = 100, kid_subset_size = 1000, neighbours = 3, seed = 2020;
  int64_t skip_bad = 0;
};

void run(const Arguments& a) {
  a.common.apply();
  check_usage(a.isc || a.fid || a.kid || a.prc, "which measures? Give one or more of --isc, --fid, --kid and --prc");
  check_usage(a.input2.empty() || a.statistics.empty(),
              "--input2 and --fid-statistics-file are both the real side; give one");
  check_usage(!(a.fid || a.kid || a.prc) || !a.input2.empty() || !a.statistics.empty(),
              "--fid, --kid and --prc compare with --input2, the real pictures");
  check_usage(a.statistics.empty() || !(a.kid || a.prc),
              "--kid and --prc need pictures, which statistics do not hold: --input2");
  if (a.common.dry_run)
    return print_json({{"input1", a.input1}, {"input2", a.input2}, {"network", a.network.to_json()}});
  EvaluationOptions measures;
  measures.inception_score = a.isc;
  measures.fid = a.fid;
  measures.kid = a.kid;
  measures.precision_recall = a.prc;
  measures.splits = a.splits;
  measures.shuffle_seed = static_cast<uint32_t>(a.seed);
  measures.kernel = {a.kid_subsets, a.kid_subset_size, static_cast<uint32_t>(a.seed)};
  measures.neighbours.k = a.neighbours;
  PictureOptions pictures;
  pictures.skip_bad = a.skip_bad;
  pictures.below = a.deep;
  catch_interrupts();
  WorkFolder work(a.work, "");
  const auto network = a.network.load(a.common);
  const auto look = [&](const std::string& spec, bool reference) {
    LookedAt looked = look_at(spec, network.get(), measures, pictures,
                              pass_for(measures, reference, a.network.batch, work.inside(reference ? "2" : "1")),
                              reference ? "looking at input 2" : "looking at input 1");
    check(looked.complete, "stopped after ", looked.done, " of ", looked.of, " pictures",
          work.kept() ? concat("; the same command goes on from there (", work.path(), ")") : std::string());
    return looked;
  };
  const std::string real_spec = a.input2.empty() ? a.statistics : a.input2;
  std::optional<LookedAt> real;
  if (!real_spec.empty() && (a.fid || a.kid || a.prc)) real = look(real_spec, true);
  const LookedAt generated = look(a.input1, false);
  const EvaluationReport report = evaluate(real ? &real->set : nullptr, generated.set, measures);
  for (const std::string& warning : report.warnings) log_warning(warning);
  const Json json = report.to_fidelity_json();
  if (a.common.json) return print_json(json);
  for (const auto& [key, value] : json.items()) std::printf("%s: %.7g\n", key.c_str(), value.get<double>());
}

}  // namespace

void add_evaluate_fidelity(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "fidelity",
      "As torch-fidelity: its flags, its keys in --json. Precision and recall are of Inception's features, as its fork "
      "for MAR and FAR takes them; it has VGG's by default. Input 1 is generated, input 2 real.");
  const auto a = std::make_shared<Arguments>();
  command->add_option("--input1", a->input1, "generated pictures: folder or .npz")->type_name("INPUT")->required();
  command->add_option("--input2", a->input2, "real pictures: folder, .npz or statistics")->type_name("INPUT");
  command
      ->add_option("--fid-statistics-file", a->statistics,
                   "real statistics in place of input 2, as the fork takes them")
      ->type_name("FILE.npz");
  command->add_flag("-i,--isc", a->isc, "Inception Score of input 1");
  command->add_flag("-f,--fid", a->fid, "Frechet Inception distance");
  command->add_flag("-k,--kid", a->kid, "kernel Inception distance");
  command->add_flag("-r,--prc", a->prc, "precision and recall");
  command->add_flag("-d,--samples-find-deep", a->deep, "also pictures in folders below; else the folder's own");
  add_number(*command, "--isc-splits", a->splits, "splits of the Inception Score", 1)->capture_default_str();
  add_number(*command, "--kid-subsets", a->kid_subsets, "subsets of KID", 1)->capture_default_str();
  add_number(*command, "--kid-subset-size", a->kid_subset_size, "pictures of each", 2)->capture_default_str();
  add_number(*command, "--prc-neighborhood", a->neighbours, "k of precision and recall", 1)->capture_default_str();
  add_number(*command, "--rng-seed", a->seed, "of shuffles and subsets", 0, 4294967295)->capture_default_str();
  add_number(*command, "--skip-bad", a->skip_bad, "so many unreadable pictures are left out and named", 0)
      ->capture_default_str();
  command->add_option("--work", a->work, "where features are kept; a run that was stopped goes on from there")
      ->type_name("DIR");
  a->network.add(*command);
  a->common.add(*command);
  add_examples(*command, {"evaluate fidelity --input1 samples/ --input2 photos/ --isc --fid --kid --prc --json",
                          "evaluate fidelity --input1 samples/ --fid-statistics-file adm_in256_stats.npz --isc --fid"});
  command->callback([a] { run(*a); });
}

}  // namespace crescendo
