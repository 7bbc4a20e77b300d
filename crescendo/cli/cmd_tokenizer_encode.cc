// crescendo tokenizer encode and decode: images -> moments or codes, latents or codes -> images.
#include <ATen/ATen.h>

#include <cstdio>

#include "crescendo/cli/cmd_tokenizer.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/tokenizer/batches.h"
#include "crescendo/tokenizer/codebook.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

bool is_safetensors(const std::string& path) { return fs::path(path).extension() == ".safetensors"; }

Tensor named_tensor(const std::string& file, const std::string& name) {
  const Safetensors read = read_safetensors(file);
  const auto it = read.tensors.find(name);
  std::string names;
  for (const auto& [known, tensor] : read.tensors) names += (names.empty() ? "" : ", ") + known;
  check(it != read.tensors.end(), file, " has no tensor '", name, "'; it has ", names.empty() ? "none" : names);
  return it->second;
}

Tensor named_floats(const std::string& file, const std::string& name) {
  const Tensor tensor = named_tensor(file, name);
  check(tensor.is_floating_point() && tensor.dim() == 4, file, ": ", name,
        " must hold floats in 4 dimensions, got ", tensor.sizes(), " of ", tensor.scalar_type());
  check_finite(tensor, name, file);
  return tensor;
}

// The images of the inputs: (B, 3, H, W) in [-1, 1].
Tensor read_images(const TokenizerArguments& a) {
  if (is_safetensors(a.inputs.front())) return named_floats(a.inputs.front(), "image");
  std::vector<Tensor> pictures;
  const std::vector<NamedPicture> read = read_pictures(a.inputs, a.size, a.count);
  for (const auto& [name, picture] : read) {
    const auto& [first_name, first] = read.front();
    check_usage(picture.width == first.width && picture.height == first.height, name, " is ", picture.width, " x ",
                picture.height, ", ", first_name, " is ", first.width, " x ", first.height,
                "; --size N crops all of them to N x N");
    pictures.push_back(image_to_tensor(picture));
  }
  return at::stack(pictures);
}

void run_encode(const TokenizerArguments& a) {
  check_usage(is_safetensors(a.out) || a.out.empty(), "--out must be a .safetensors file, got '", a.out, "'");
  const fs::path tokenizer = apply_and_find(a);
  if (a.common.dry_run) return print_json(a.resolved(tokenizer));
  check_usage(!is_safetensors(a.inputs.front()) || (a.inputs.size() == 1 && a.size == 0 && a.count == 0),
              "a safetensors input stands alone and takes neither --size nor --count");
  check_writable(a.out, false);
  catch_interrupts();
  const auto write = [&](const char* name, const Tensor& encoded, Json report,
                         const std::map<std::string, std::string>& metadata) {
    make_parent(a.out);
    write_safetensors(a.out, {{name, encoded}}, metadata);
    report["out"] = a.out;
    report[name] = encoded.sizes().vec();
    if (a.common.json) print_json(report);
  };
  if (is_vq_tokenizer_dir(tokenizer)) {
    const auto vae = open_vq_tokenizer(a, tokenizer);
    const Tensor codes = encode_in_batches(*vae, read_images(a));  // (B, h, w)
    const CodeUse use = code_use(codes, vae->config().codes);
    return write("codes", codes,
                 {{"code_use", use.share}, {"perplexity", use.perplexity}, {"codes_in_all", vae->config().codes}}, {});
  }
  const auto vae = open_tokenizer(a, tokenizer);
  const double scale = vae->config().latent_scale;
  write("moments", encode_in_batches(*vae, read_images(a)), {{"latent_scale", scale}},
        {{"latent_scale", json_text(Json(scale))}});
}

void run_decode(const TokenizerArguments& a) {
  const fs::path tokenizer = apply_and_find(a);
  if (a.common.dry_run) return print_json(a.resolved(tokenizer));
  const bool tensors = is_safetensors(a.out);
  check_writable(a.out, !tensors);
  catch_interrupts();
  const Tensor image =
      is_vq_tokenizer_dir(tokenizer)
          ? decode_in_batches(*open_vq_tokenizer(a, tokenizer), named_tensor(a.inputs.front(), "codes"))
          : decode_in_batches(*open_tokenizer(a, tokenizer), named_floats(a.inputs.front(), "latents"), a.tile);
  if (tensors) {
    make_parent(a.out);
    write_safetensors(a.out, {{"image", image}});
  } else {
    make_directories(a.out);
    for (int64_t i = 0; i < image.size(0); ++i) {
      char name[32];
      std::snprintf(name, sizeof name, "%06ld.png", static_cast<long>(i));
      write_png(fs::path(a.out) / name, tensor_to_image(image[i]));
    }
  }
  if (a.common.json) print_json({{"out", a.out}, {"image", image.sizes().vec()}});
}

}  // namespace

void add_tokenizer_encode(CLI::App& tokenizer) {
  const auto a = std::make_shared<TokenizerArguments>();
  CLI::App* encode = add_tokenizer_user(
      tokenizer, "encode", "Images to moments (KL-VAE) or codes (VQ)", *a,
      "a safetensors file with `image` (B, 3, H, W) in [-1, 1], or image files, folders of them, or shapes",
      "file.safetensors");
  add_number(*encode, "--size", a->size, "crop image files to a square of N pixels", 1, kLargestSide)->group("What");
  add_number(*encode, "--count", a->count, "pictures of each input; default: all", 1)->group("What");
  add_examples(*encode, {"tokenizer encode photo.png --size 64 --out moments.safetensors",
                         "tokenizer encode images.safetensors --model models/kl16 --out moments.safetensors"});
  encode->callback([a] { run_encode(*a); });
}

void add_tokenizer_decode(CLI::App& tokenizer) {
  const auto a = std::make_shared<TokenizerArguments>();
  CLI::App* decode =
      add_tokenizer_user(tokenizer, "decode", "Latents (KL-VAE) or codes (VQ) to images", *a,
                         "a safetensors file with `latents` (B, C, h, w), already divided by the latent scale, or `codes` (B, h, w)",
                         "file.safetensors, or a folder for PNGs");
  decode->get_option("inputs")->expected(1);
  add_number(*decode, "--tile", a->tile,
             "decode in blended tiles of N x N cells of the latent, where the whole is too much for memory", 4, 1 << 20)
      ->group("What");
  add_examples(*decode, {"tokenizer decode latents.safetensors --out pictures/",
                         "tokenizer decode latents.safetensors --model models/kl16 --out images.safetensors"});
  decode->callback([a] { run_decode(*a); });
}

}  // namespace crescendo
