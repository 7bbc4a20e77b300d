// crescendo tokenizer: train a KL-VAE or VQ tokenizer; images <-> moments and latents, or codes.
#include "crescendo/cli/cmd_tokenizer.h"

#include "crescendo/core/check.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

Json TokenizerArguments::resolved(const std::filesystem::path& tokenizer) const {
  return {{"inputs", inputs},
          {"tokenizer", tokenizer.string()},
          {"out", out},
          {"size", size},
          {"count", count},
          {"tile", tile},
          {"filter", filter},
          {"levels", levels},
          {"device", common.device},
          {"dtype", common.dtype}};
}

CLI::App* add_tokenizer_user(CLI::App& tokenizer, const char* name, const char* description, TokenizerArguments& a,
                             const std::string& input, const std::string& out) {
  CLI::App* command = tokenizer.add_subcommand(name, description);
  command->add_option("inputs", a.inputs, input)->type_name("FILE")->required()->group("What");
  command
      ->add_option("--model", a.model,
                   "tokenizer folder, a model that has one, or a file such as kl16.ckpt; default: the model in the box")
      ->type_name("FILE|DIR")
      ->group("What");
  command->add_option("--out", a.out, out)->type_name("FILE")->group("Output");
  a.common.add(*command);
  return command;
}

std::filesystem::path apply_and_find(const TokenizerArguments& a) {
  a.common.apply();
  check_usage(!a.out.empty(), "where to? Use --out");
  return find_tokenizer(a.model);
}

std::unique_ptr<KlVae> open_tokenizer(const TokenizerArguments& a, const std::filesystem::path& path) {
  return open_tokenizer(path, a.common.parsed_device(), a.common.parsed_dtype());
}

std::unique_ptr<VqVae> open_vq_tokenizer(const TokenizerArguments& a, const std::filesystem::path& path) {
  check_usage(a.common.parsed_dtype() == at::kFloat, "--dtype ", a.common.dtype,
              " is of KL-VAEs; a VQ tokenizer is used in fp32");
  check_usage(a.tile == 0, "--tile is of KL-VAEs");
  return load_vq_tokenizer(path, a.common.parsed_device());
}

std::vector<NamedPicture> read_pictures(const TokenizerArguments& a, int64_t factor) {
  std::vector<NamedPicture> out = read_pictures(a.inputs, a.size, a.count);
  for (const NamedPicture& p : out)
    check_usage(p.image.width % factor == 0 && p.image.height % factor == 0, p.name, " is ", p.image.width, " x ",
                p.image.height, "; the sides must be multiples of ", factor, ": --size N crops to N x N");
  return out;
}

void add_tokenizer_command(CLI::App& app) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Train and use image tokenizers (KL-VAE, VQ)");
  tokenizer->require_subcommand(1);
  add_tokenizer_train(*tokenizer);
  add_tokenizer_encode(*tokenizer);
  add_tokenizer_decode(*tokenizer);
  add_tokenizer_reconstruct(*tokenizer);
  add_tokenizer_filter(*tokenizer);
}

}  // namespace crescendo
