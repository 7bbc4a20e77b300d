// crescendo tokenizer train: pictures -> a KL-VAE or a VQ tokenizer.
#include <cmath>
#include <filesystem>

#include "crescendo/cli/cmd_tokenizer.h"
#include "crescendo/cli/field_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/readable.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/store/transfer.h"
#include "crescendo/train/tokenizer_training.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// What a config file holds: the data, and how to train on it.
struct Recipe {
  std::vector<std::string> data;
  int64_t skip_bad = 0;
  TokenizerTrainingOptions training;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("data", s.data, "data sets, mixed: shapes, scenes or folders of images");
    v("skip_bad", s.skip_bad, "images of a set that cannot be read and may be left out; more are an error");
    TokenizerTrainingOptions::fields(s.training, v);
  }
};

struct TrainArguments {
  CommonOptions common;
  std::string config_file, preset, out, init;
  std::vector<std::string> data, set;
  FieldArgs fields;
  std::optional<int64_t> skip_bad;
  int64_t seed = 0;
  bool seed_given = false, dtype_given = false, init_partial = false;
};

Recipe resolve(const TrainArguments& a) {
  check_usage(a.config_file.empty() || a.preset.empty(), "a config file and --preset contradict each other");
  check_usage(!a.config_file.empty() || !a.preset.empty(),
              "what to train? Give a config file, e.g. `crescendo tokenizer train ",
              "configs/shapes-64-tokenizer.json --out runs/tokenizer`, or --preset shapes-64 or kl16");
  Recipe recipe;
  if (!a.preset.empty())
    recipe.training = tokenizer_training_preset(a.preset);
  else
    value_from_json(recipe, read_json(a.config_file), a.config_file);
  for (const auto& assignment : a.set) set_field(recipe, assignment);
  value_from_json(recipe, a.fields.given(), "the command line");
  if (!a.data.empty()) recipe.data = a.data;
  if (a.skip_bad) recipe.skip_bad = *a.skip_bad;
  if (a.seed_given) recipe.training.seed = a.seed;
  if (a.dtype_given) recipe.training.precision = a.common.dtype;
  check_usage(!a.init_partial || !a.init.empty(), "--init-partial goes with --init DIR");
  check_usage(recipe.training.codes == 0 || a.init.empty(), "--init takes the weights of a KL-VAE; a VQ tokenizer is ",
              "trained from drawn weights");
  check_usage(!recipe.training.freeze_encoder || !a.init.empty(),
              "freeze_encoder goes with --init DIR: an encoder drawn anew has nothing to keep");
  check_usage(!recipe.data.empty(), "what to train on? Use --data shapes or --data FOLDER");
  recipe.training.validate();
  return recipe;
}

// What a training begins with, in fp32 on the CPU.
std::unique_ptr<KlVae> first_weights(const TrainArguments& a, const TokenizerTrainingOptions& options) {
  const KlVaeConfig& config = options.tokenizer;
  const auto seed = static_cast<uint64_t>(options.seed);
  if (a.init.empty()) return KlVae::random(config, seed);
  auto from = open_tokenizer(find_tokenizer(a.init), at::kCPU, at::kFloat);
  KlVaeConfig wanted = config;
  wanted.latent_scale = from->config().latent_scale;  // measured anew in the end, if the encoder learns
  if (fields_equal(wanted, from->config())) return from;
  check_usage(a.init_partial, "--init ", a.init, " has other sizes: ", json_text(value_to_json(from->config())),
              "; with --init-partial what fits is taken and the rest drawn anew");
  std::vector<std::string> drawn;
  auto vae = transfer_weights(*from, wanted, seed, drawn);
  for (const std::string& name : drawn)
    check_usage(!options.freeze_encoder || is_of_decoder(name), "freeze_encoder needs the encoder of ", a.init,
                ", whose ", name, " has another shape; change the decoder alone");
  const size_t all = vae->params().items().size();
  check(drawn.size() < all, "no weight of ", a.init, " fits this tokenizer");
  log_info(concat(all - drawn.size(), " of ", all, " tensors from ", a.init, ", the rest drawn anew"));
  return vae;
}

void run_train(const TrainArguments& a) {
  a.common.apply();
  const Recipe recipe = resolve(a);
  check_usage(!a.out.empty(), "where to? Use --out DIR");
  if (a.common.dry_run) return print_json(value_to_json(recipe));
  check_writable(a.out, true);
  const TokenizerTrainingOptions& options = recipe.training;
  const auto seed = static_cast<uint64_t>(options.seed);
  catch_interrupts();
  std::vector<std::unique_ptr<Dataset>> sets;
  for (const auto& spec : recipe.data)
    sets.push_back(without_unreadable(open_dataset(spec, options.image_side), recipe.skip_bad));
  const TrainingImages images(std::move(sets), seed);
  const at::Device device = a.common.parsed_device();
  const auto train = [&](auto& vae) {
    vae.params().to(device, at::kFloat);
    log_info(concat(vae.params().count(), " parameters, factor ", options.tokenizer.factor(), ", ", images.size(),
                    " images, ", device_description(device)));
    make_directories(a.out);
    write_json(fs::path(a.out) / "recipe.json", value_to_json(recipe));
    return train_tokenizer(vae, images, options, a.out, interrupted);
  };
  const TokenizerTrainingResult result =
      options.codes > 0 ? train(*VqVae::random({options.tokenizer, options.codes}, static_cast<uint64_t>(options.seed)))
                        : train(*first_weights(a, options));
  const std::string folder = (fs::path(a.out) / "tokenizer").string();
  std::string measures;
  for (const auto& [name, value] : result.measures.items()) measures += concat(", ", name, " ", value.get<double>());
  log_info(concat(folder, ": ", result.images, " images in ", format_duration(result.seconds), ", PSNR ",
                  std::round(result.psnr * 100) / 100, " dB on ", options.held_out, " held-out images", measures,
                  ", compression ratio ", std::round(result.compression_ratio * 1e4) / 100, " %"));
  if (a.common.json) {
    Json report = result.to_json();
    report["tokenizer"] = folder;
    print_json(report);
  }
  check(result.finished, "stopped after ", result.images, " of ", options.images, " images; what was learned is in ",
        folder);
}

}  // namespace

void add_tokenizer_train(CLI::App& tokenizer) {
  CLI::App* train = tokenizer.add_subcommand("train", "Train a tokenizer");
  const auto t = std::make_shared<TrainArguments>();
  train->add_option("config", t->config_file, "config file (JSON), e.g. configs/shapes-64-tokenizer.json")
      ->type_name("FILE")
      ->group("What");
  train->add_option("--preset", t->preset, "in place of a config file: shapes-64 or kl16")
      ->type_name("NAME")
      ->group("What");
  train->add_option("--data", t->data, "shapes[:count=N,seed=S] or a folder of images; repeatable: several are mixed")
      ->type_name("SPEC")
      ->allow_extra_args(false)
      ->group("What");
  train->add_option("--set", t->set, "key=value over the config: --set loss.kl=0.01 is --loss.kl 0.01; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->group("What");
  add_number(
      *train, "--skip-bad", t->skip_bad,
      "go on without up to N images of a set that cannot be read; they are named (default: the config's, else 0)", 0)
      ->group("What");
  train->add_option("--init", t->init, "start from this tokenizer's weights")->type_name("DIR")->group("What");
  train
      ->add_flag("--init-partial", t->init_partial,
                 "--init may have other sizes: take what has the same name and shape, draw the rest")
      ->group("What");
  CLI::Option* seed =
      add_number(*train, "--seed", t->seed, "seed of weights, order and noise (default: the config's)", 0)
          ->group("What");
  train->add_option("--out", t->out, "run folder: log.jsonl and tokenizer/")->type_name("DIR")->group("Output");
  t->common.add(*train);
  t->fields.add<Recipe>(*train, "Over the config", {"data", "skip_bad", "seed"});
  add_examples(*train, {"tokenizer train configs/shapes-64-tokenizer.json --out runs/tokenizer",
                        "tokenizer train --preset kl16 --data photos/ --out runs/photos --image-side 128"});
  CLI::Option* dtype = train->get_option("--dtype");
  train->callback([t, seed, dtype] {
    t->seed_given = seed->count() > 0;
    t->dtype_given = dtype->count() > 0;
    run_train(*t);
  });
}

}  // namespace crescendo
