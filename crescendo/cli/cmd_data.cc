// crescendo data: writes the program's own data sets to files.
#include <functional>
#include <memory>

#include "crescendo/cli/args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/rng.h"
#include "crescendo/data/shapes_dataset.h"

namespace crescendo {

namespace {

struct DataArgs {
  CommonOptions common;
  std::string out;
  ShapesFolderOptions set;
  std::string split = "train";  // scenes only
};

using OnProgress = std::function<bool(int64_t)>;

// `config` holds what is particular to the set; `write` makes the files and returns how many pictures there are.
void run(DataArgs args, bool seed_given, Json config,
         const std::function<int64_t(const DataArgs&, const OnProgress&)>& write) {
  args.common.apply();
  if (!seed_given) args.set.seed = random_seed();
  config["out"] = args.out;
  config["count"] = args.set.count;
  config["seed"] = args.set.seed;
  config["side"] = args.set.side;
  if (args.common.dry_run) return print_json(config);
  constexpr double kLineBytes = 250, kPictureBytes = 250;  // no line of metadata and no picture has less
  const auto count = static_cast<double>(args.set.count);
  check_fits_memory(count * kLineBytes, concat("the metadata of ", args.set.count, " pictures"),
                    "ask for fewer with --count");
  check_fits_disk(args.out, count * kPictureBytes, concat(args.set.count, " pictures"), "ask for fewer with --count");
  if (!seed_given) log_info(concat("seed ", args.set.seed));
  catch_interrupts();
  Progress progress("writing");
  const int64_t written = write(args, [&](int64_t done) {
    progress.update(static_cast<double>(done) / static_cast<double>(args.set.count),
                    concat(done, " of ", args.set.count, " pictures"));
    return !interrupted();
  });
  progress.finish(concat(written, " pictures in ", args.out));
  config["count"] = written;
  if (args.common.json) print_json(config);
  check(written == args.set.count, "stopped after ", written, " of ", args.set.count,
        " pictures; what was finished is in ", args.out);
}

CLI::Option* add_set_options(CLI::App& command, DataArgs& args) {
  command.add_option("--out", args.out, "folder to make; must be new or empty")->type_name("DIR")->required();
  add_number(command, "--count", args.set.count, "number of pictures", 1, 100'000'000)->required();
  add_number(command, "--side", args.set.side, "height and width, pixels", 16, 4096)->capture_default_str();
  return add_number(command, "--seed", args.set.seed, "seed of the set (default: drawn and printed)");
}

}  // namespace

void add_data_command(CLI::App& app) {
  CLI::App* data = app.add_subcommand("data", "Write the program's own data sets to files");
  data->require_subcommand(1);

  const auto single = std::make_shared<DataArgs>();
  CLI::App* shapes = data->add_subcommand(
      "shapes",
      "One object each, 80 classes: DIR/<class name>/NNNNNN.png, and DIR/metadata.jsonl with every parameter drawn.\n"
      "Picture i is of class i mod 80 and depends on the seed and i alone, so a larger set begins with a smaller one.");
  CLI::Option* single_seed = add_set_options(*shapes, *single);
  single->common.add(*shapes);
  add_examples(*shapes,
               {"data shapes --out shapes --count 32000 --seed 0", "data shapes --out small --count 800 --side 32"});
  shapes->callback([single, single_seed] {
    run(*single, single_seed->count() > 0, {{"set", "shapes"}},
        [](const DataArgs& args, const OnProgress& on_progress) {
          return write_shapes_folder(args.out, args.set, on_progress);
        });
  });

  const auto several = std::make_shared<DataArgs>();
  CLI::App* scenes = data->add_subcommand("scenes",
                                          "One to four objects with a caption: DIR/NNNNNN.png beside DIR/NNNNNN.txt, "
                                          "and DIR/metadata.jsonl with GenEval's\n"
                                          "metadata and every parameter drawn.");
  CLI::Option* several_seed = add_set_options(*scenes, *several);
  scenes->add_option("--split", several->split, "train, heldout (pairs of colour and shape that train lacks) or all")
      ->capture_default_str();
  several->common.add(*scenes);
  add_examples(*scenes, {"data scenes --out scenes --count 32000 --seed 0",
                         "data scenes --out unseen --count 600 --split heldout"});
  scenes->callback([several, several_seed] {
    const Split split = parse_enum<Split>(several->split, "--split");
    run(*several, several_seed->count() > 0, {{"set", "scenes"}, {"split", enum_name(split)}},
        [split](const DataArgs& args, const OnProgress& on_progress) {
          return write_scenes_folder(args.out, args.set, split, on_progress);
        });
  });
}

}  // namespace crescendo
