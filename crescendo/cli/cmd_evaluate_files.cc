// crescendo evaluate pack, unpack, captions: files that go into and come out of evaluations.
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/evaluate_args.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/coco_captions.h"
#include "crescendo/data/pack.h"

namespace crescendo {

namespace {

struct PackArguments {
  CommonOptions common;
  PictureArgs pictures;
  std::string input, out;
  uint64_t shuffle_seed = 0;
  bool no_shuffle = false, by_class = false;
};

// Runs `work` with a progress over the pictures, and says what came of it.
void with_progress(const CommonOptions& common, const PictureSource& pictures, const std::string& out,
                   const std::string& title, const std::function<bool(const OnPicture&)>& work) {
  catch_interrupts();
  Progress bar(title);
  const bool complete = work([&](int64_t done) {
    bar.update(static_cast<double>(done) / static_cast<double>(pictures.size()), concat(done, " of ", pictures.size()));
    return !interrupted();
  });
  bar.finish();
  check(complete, "stopped; nothing was written to ", out);
  if (common.json) return print_json({{"out", out}, {"pictures", pictures.size()}, {"labels", pictures.has_labels()}});
  log_info(concat("wrote ", out, ": ", pictures.size(), " pictures"));
}

void run_pack(const PackArguments& a) {
  a.common.apply();
  if (a.common.dry_run)
    return print_json(
        {{"input", a.input}, {"out", a.out}, {"shuffle_seed", a.no_shuffle ? Json() : Json(a.shuffle_seed)}});
  check_usage(a.out.ends_with(".npz"), "--out must end in .npz, got '", a.out, "'");
  check_writable(a.out, false);
  const auto pictures = open_pictures(a.input, a.pictures.options);
  const Image first = pictures->get(0);
  check_fits_disk(a.out, static_cast<double>(pictures->size()) * static_cast<double>(first.rgb.size()),
                  concat(pictures->size(), " pictures"), "pack fewer with --count, or smaller with --side");
  make_parent(a.out);
  PackOptions options;
  options.shuffle_seed = a.no_shuffle ? std::nullopt : std::optional(a.shuffle_seed);
  with_progress(a.common, *pictures, a.out, "packing",
                [&](const OnPicture& go_on) { return pack_pictures(*pictures, a.out, options, go_on); });
}

void run_unpack(const PackArguments& a) {
  a.common.apply();
  if (a.common.dry_run) return print_json({{"input", a.input}, {"out", a.out}, {"by_class", a.by_class}});
  check_writable(a.out, true);
  const auto pictures = open_pictures(a.input, a.pictures.options);
  with_progress(a.common, *pictures, a.out, "unpacking",
                [&](const OnPicture& go_on) { return unpack_pictures(*pictures, a.out, a.by_class, go_on); });
}

void add_pack(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "pack", "Pictures -> one .npz as ADM's evaluation takes it: arr_0 (N, H, W, 3) uint8, classes in arr_1");
  const auto a = std::make_shared<PackArguments>();
  command->add_option("input", a->input, "folder of pictures of one size; folders in it are classes")
      ->type_name("DIR")
      ->required();
  command->add_option("--out", a->out, "the array; it may be larger than the memory")
      ->type_name("FILE.npz")
      ->required();
  CLI::Option* seed = add_number(*command, "--shuffle-seed", a->shuffle_seed,
                                 "seed of the order: ADM's Inception Score is wrong where classes stand together");
  seed->capture_default_str();
  command->add_flag("--no-shuffle", a->no_shuffle, "keep the order of the names")->excludes(seed);
  a->pictures.add(*command);
  a->common.add(*command);
  add_examples(*command,
               {"evaluate pack samples/ --out samples.npz", "evaluate pack photos/ --side 256 --out photos.npz"});
  command->callback([a] { run_pack(*a); });
}

void add_unpack(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("unpack", "An .npz of pictures -> PNG files");
  const auto a = std::make_shared<PackArguments>();
  command->add_option("input", a->input, ".npz with arr_0, or .npy")->type_name("FILE.npz")->required();
  command->add_option("--out", a->out, "folder to make; must be new or empty")->type_name("DIR")->required();
  command->add_flag("--by-class", a->by_class, "a folder for each class of arr_1");
  a->pictures.add(*command);
  a->common.add(*command);
  add_examples(*command,
               {"evaluate unpack samples.npz --out samples", "evaluate unpack samples.npz --out few --count 100"});
  command->callback([a] { run_unpack(*a); });
}

struct CaptionArguments {
  CommonOptions common;
  std::string file, out, rule = "one-per-image";
  int64_t count = 30000;
  uint64_t seed = 0;
};

void run_captions(const CaptionArguments& a) {
  a.common.apply();
  const auto rule = parse_enum<CaptionRule>(a.rule, "--rule");
  if (a.common.dry_run)
    return print_json({{"file", a.file}, {"rule", a.rule}, {"count", a.count}, {"seed", a.seed}, {"out", a.out}});
  check_writable(a.out, false);
  const CaptionList list = read_coco_captions(a.file, a.count, rule, a.seed);
  make_parent(a.out);
  write_caption_list(a.out, list);
  if (a.common.json)
    return print_json({{"out", a.out}, {"captions", list.captions.size()}, {"protocol", list.protocol}});
  std::cout << list.protocol << "\n";
  log_info(
      concat("wrote ", a.out, ": ", list.captions.size(), " captions; report the protocol above with the numbers"));
}

void add_captions(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "captions",
      "The prompts of COCO FID-30K: a list drawn by a rule, the same for everybody, and its protocol's name");
  const auto a = std::make_shared<CaptionArguments>();
  command->add_option("file", a->file, "captions_val2014.json, or another of COCO's caption files")
      ->type_name("FILE.json")
      ->required();
  command->add_option("--out", a->out, "JSON lines {\"prompt\", \"image_id\", \"caption_id\", \"file_name\"}")
      ->type_name("FILE.jsonl")
      ->required();
  add_number(*command, "--count", a->count, "captions", 1)->capture_default_str();
  command->add_option("--rule", a->rule, "one-per-image: the caption of lowest id of each image; or any-caption")
      ->capture_default_str();
  add_number(*command, "--seed", a->seed, "of the draw")->capture_default_str();
  a->common.add(*command);
  add_examples(*command, {"evaluate captions captions_val2014.json --out coco-30k.jsonl",
                          "evaluate captions captions_val2014.json --count 1000 --out coco-1k.jsonl --json"});
  command->callback([a] { run_captions(*a); });
}

}  // namespace

void add_evaluate_files(CLI::App& evaluate) {
  add_pack(evaluate);
  add_unpack(evaluate);
  add_captions(evaluate);
}

}  // namespace crescendo
