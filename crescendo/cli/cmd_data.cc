// crescendo data: writes the program's own data set to files.
#include "crescendo/cli/cmd_data.h"

#include <cstdio>
#include <memory>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/json.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"

namespace crescendo {

namespace {

struct DataArgs {
  std::string out;
  ShapesFolderOptions shapes;
  int64_t threads = 0;
  bool json = false, dry_run = false, quiet = false, verbose = false;
};

void run_shapes(DataArgs args, bool seed_given) {
  set_log_level(args.quiet ? LogLevel::kQuiet : args.verbose ? LogLevel::kVerbose : LogLevel::kNormal);
  set_threads(args.threads);
  if (!seed_given) args.shapes.seed = random_seed();
  Json report = {
      {"out", args.out}, {"count", args.shapes.count}, {"seed", args.shapes.seed}, {"side", args.shapes.side}};
  if (args.dry_run) {
    std::printf("%s\n", report.dump(2).c_str());
    return;
  }
  if (!seed_given) log_info(concat("seed ", args.shapes.seed));
  catch_interrupts();
  Progress progress("shapes");
  const int64_t written = write_shapes_folder(args.out, args.shapes, [&](int64_t done) {
    progress.update(static_cast<double>(done) / static_cast<double>(args.shapes.count),
                    concat(done, " of ", args.shapes.count, " pictures"));
    return !interrupted();
  });
  progress.finish(concat(written, " pictures in ", args.out));
  report["count"] = written;
  if (args.json) std::printf("%s\n", report.dump(2).c_str());
  check(written == args.shapes.count, "stopped after ", written, " of ", args.shapes.count,
        " pictures; what was finished is in ", args.out);
}

}  // namespace

void add_data_command(CLI::App& app) {
  CLI::App* data = app.add_subcommand("data", "Make data sets");
  data->require_subcommand(1);
  const auto args = std::make_shared<DataArgs>();
  CLI::App* shapes = data->add_subcommand("shapes", "Write the program's own data set as class folders of PNG files");
  shapes->footer(
      "DIR/<class name>/NNNNNN.png, and DIR/metadata.jsonl with every parameter drawn. Picture i depends on the seed\n"
      "and i alone and is of class i mod 80, so a larger set begins with a smaller one.\n\n"
      "Examples:\n"
      "  crescendo data shapes --out shapes --count 32000 --seed 0\n"
      "  crescendo data shapes --out small --count 800 --seed 1 --side 32");
  shapes->add_option("--out", args->out, "Folder to make; must be new or empty")->type_name("DIR")->required();
  shapes->add_option("--count", args->shapes.count, "Number of pictures")
      ->type_name("N")
      ->required()
      ->check(CLI::Range(int64_t{1}, int64_t{100'000'000}));
  CLI::Option* seed =
      shapes->add_option("--seed", args->shapes.seed, "Seed of the set (default: drawn and printed)")->type_name("S");
  shapes->add_option("--side", args->shapes.side, "Height and width")
      ->type_name("PIXELS")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{16}, int64_t{4096}));
  shapes->add_option("--threads", args->threads, "Threads; 0: one per core")->type_name("N")->capture_default_str();
  shapes->add_flag("--json", args->json, "Report as JSON on stdout");
  shapes->add_flag("--dry-run", args->dry_run, "Print the resolved configuration as JSON and stop");
  shapes->add_flag("--quiet", args->quiet, "Say nothing but errors");
  shapes->add_flag("--verbose", args->verbose, "Say more");
  shapes->callback([args, seed] { run_shapes(*args, seed->count() > 0); });
}

}  // namespace crescendo
