// crescendo convert: published checkpoints -> model directories, and back to files that PyTorch opens.
#include <ATen/ATen.h>

#include "crescendo/cli/args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/store/convert.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

struct Arguments {
  CommonOptions common;
  std::string path, out, to = "dir";
  std::string tokenizer, text_encoder, system_prompt, labels, weights, dtype;
  int64_t heads = 0;
  double latent_scale = 0;
};

// A folder or file as given, else the name of a model.
fs::path source_path(const std::string& name) { return fs::exists(name) ? fs::path(name) : find_model(name); }

// A KL-VAE by itself: a tokenizer's folder is made of it.
void convert_tokenizer(const Arguments& a, const ConvertSource& source, const ConvertOptions& options) {
  const std::string name = source.path.string();
  check_usage(a.to == "dir", name, " is a KL-VAE; --to pth is for models");
  check_usage(
      a.heads == 0 && a.tokenizer.empty() && a.text_encoder.empty() && a.system_prompt.empty() && a.labels.empty(),
      name,
      " is a KL-VAE, not a model: --heads, --tokenizer, --text-encoder, --system-prompt and --labels are for "
      "models");
  const auto vae = open_tokenizer(source, options);
  const Json report = {{"from", name},
                       {"out", a.out},
                       {"to", "tokenizer"},
                       {"dtype", precision_name(vae->dtype())},
                       {"parameters", vae->params().count()},
                       {"config", value_to_json(vae->config())}};
  if (a.common.dry_run) return print_json(report);
  write_tokenizer_directory(*vae, a.out);
  if (a.common.json) return print_json(report);
  log_info(concat(a.out, ": tokenizer of ", vae->params().count(), " parameters, factor ", vae->config().factor(), ", ",
                  vae->config().latent_channels, " channels, latent scale ", vae->config().latent_scale));
}

void run(const Arguments& a) {
  a.common.apply();
  check_usage(a.to == "dir" || a.to == "pth", "--to must be dir or pth, got '", a.to, "'");
  check_usage(!a.out.empty(), "where to? Use --out ", a.to == "dir" ? "DIR" : "FILE.pth");
  const bool parts = !a.tokenizer.empty() || !a.text_encoder.empty() || !a.system_prompt.empty() || !a.labels.empty();
  check_usage(
      a.to == "dir" || !parts,
      "--to pth writes the model alone; --tokenizer, --text-encoder, --system-prompt and --labels contradict it");
  ConvertOptions options;
  options.heads = a.heads;
  if (!a.weights.empty()) options.weights = parse_enum<WeightsChoice>(a.weights, "--weights");
  if (!a.dtype.empty()) options.dtype = parse_dtype(a.dtype);
  options.tokenizer = a.tokenizer;
  options.text_encoder = a.text_encoder;
  options.system_prompt = a.system_prompt;
  options.labels = a.labels;

  options.latent_scale = a.latent_scale;

  const ConvertSource source = read_source(source_path(a.path));
  if (source.is_tokenizer) return convert_tokenizer(a, source, options);
  check_usage(a.latent_scale == 0 || !a.tokenizer.empty(), "--latent-scale goes with --tokenizer FILE");
  const OpenModel model = open_model(source, options);
  const Json report = {{"from", model.name},
                       {"out", a.out},
                       {"to", a.to},
                       {"dtype", precision_name(model.dtype)},
                       {"set", model.set},
                       {"removed", model.removed},
                       {"parameters", total_numel(model.weights)},
                       {"config", model_info_to_json(model.info)}};
  if (!model.removed.empty())
    log_info(concat(model.name, ": '", join(model.removed, "', '"), "' taken off the names of its weights"));
  if (a.common.dry_run) return print_json(report);
  if (a.to == "pth") {
    check_writable(a.out, false);
    write_published(model, a.out);
  } else {
    write_model_directory(model, options, a.out);
  }
  if (a.common.json) return print_json(report);
  log_info(concat(a.out, ": ", model.info.model.kind(), ", ", total_numel(model.weights), " parameters, ",
                  precision_name(model.dtype), ", ", model.info.weights, " weights, sampler ",
                  asked_preset(model.info.sampler, model.info.model)));
  if (a.to == "dir" && !has_tokenizer(a.out))
    log_info("it has no tokenizer yet: convert it again with --tokenizer kl16.ckpt to make pictures");
}

}  // namespace

void add_convert_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("convert", "Published checkpoints to model directories or tokenizers' folders, and back");
  auto a = std::make_shared<Arguments>();
  const std::string what = "What", parts = "Parts of a model directory", output = "Output";
  command
      ->add_option("path", a->path,
                   "PyTorch checkpoint or safetensors (or its index) of a model or a KL-VAE, or a model directory")
      ->required()
      ->type_name("FILE|DIR")
      ->group(what);
  add_number(*command, "--heads", a->heads, "attention heads, for sizes that are not B, L or H", 1)->group(what);
  command->add_option("--weights", a->weights, "ema or raw, where a file holds both (default: ema where it does)")
      ->group(what);
  command->add_option("--dtype", a->dtype, "fp32, bf16 or fp16 (default: as stored)")->group(what);
  command
      ->add_option("--tokenizer", a->tokenizer,
                   "tokenizer's folder, a model that has one, or a file: kl16.ckpt, a whole latent diffusion model")
      ->type_name("FILE|DIR")
      ->group(parts);
  add_number(*command, "--latent-scale", a->latent_scale,
             "1 / standard deviation of a KL-VAE's latents, where its file does not tell (kl16: 0.2325)")
      ->group(parts);
  command->add_option("--text-encoder", a->text_encoder, "folder in Hugging Face layout, for text models")
      ->group(parts);
  command->add_option("--system-prompt", a->system_prompt, "file with the text before every prompt, kept byte for byte")
      ->group(parts);
  command->add_option("--labels", a->labels, "file with the name of a class in every line")->group(parts);
  command->add_option("--out", a->out, "DIR, or FILE.pth with --to pth")->group(output);
  command->add_option("--to", a->to, "dir: a model directory; pth: a file for torch.load(weights_only=True)")
      ->capture_default_str()
      ->group(output);
  const std::string common = "Common";
  command->add_flag("--quiet", a->common.quiet, "say nothing but errors and warnings")->group(common);
  command->add_flag("--json", a->common.json, "print what was made as JSON")->group(common);
  command->add_flag("--dry-run", a->common.dry_run, "check everything, print what would be made as JSON and stop")
      ->group(common);
  add_examples(*command, {"convert checkpoint-last.pth --tokenizer kl16.ckpt --out far-base",
                          "convert far-base --to pth --out far-base.pth"});
  command->callback([a] { run(*a); });
}

}  // namespace crescendo
