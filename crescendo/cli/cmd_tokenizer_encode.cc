// crescendo tokenizer encode and decode: images -> moments, latents -> images.
#include <ATen/ATen.h>

#include <cstdio>

#include "crescendo/cli/cmd_tokenizer.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/tokenizer/batches.h"

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
  check(it->second.is_floating_point(), file, ": ", name, " must hold floats, got ", it->second.scalar_type());
  check_finite(it->second, name, file);
  return it->second;
}

void run_encode(const TokenizerArguments& a) {
  check_usage(is_safetensors(a.out) || a.out.empty(), "--out must be a .safetensors file, got '", a.out, "'");
  const fs::path tokenizer = apply_and_find(a);
  if (a.common.dry_run) return print_json(a.resolved(tokenizer));
  const auto vae = open_tokenizer(a, tokenizer);
  check_writable(a.out, false);
  catch_interrupts();
  const bool tensors = is_safetensors(a.inputs.front());
  check_usage(!tensors || (a.inputs.size() == 1 && a.size == 0 && a.count == 0),
              "a safetensors input stands alone and takes neither --size nor --count");
  Tensor image;  // (B, 3, H, W)
  if (tensors) {
    image = named_tensor(a.inputs.front(), "image");
  } else {
    std::vector<Tensor> pictures;
    const std::vector<NamedPicture> read = read_pictures(a.inputs, a.size, a.count);
    for (const auto& [name, picture] : read) {
      const auto& [first_name, first] = read.front();
      check_usage(picture.width == first.width && picture.height == first.height, name, " is ", picture.width, " x ",
                  picture.height, ", ", first_name, " is ", first.width, " x ", first.height,
                  "; --size N crops all of them to N x N");
      pictures.push_back(image_to_tensor(picture));
    }
    image = at::stack(pictures);
  }
  const Tensor moments = encode_in_batches(*vae, image);
  make_parent(a.out);
  write_safetensors(a.out, {{"moments", moments}}, {{"latent_scale", json_text(Json(vae->config().latent_scale))}});
  if (a.common.json)
    print_json({{"out", a.out}, {"moments", moments.sizes().vec()}, {"latent_scale", vae->config().latent_scale}});
}

void run_decode(const TokenizerArguments& a) {
  const fs::path tokenizer = apply_and_find(a);
  if (a.common.dry_run) return print_json(a.resolved(tokenizer));
  const auto vae = open_tokenizer(a, tokenizer);
  const bool tensors = is_safetensors(a.out);
  check_writable(a.out, !tensors);
  catch_interrupts();
  const Tensor latents = named_tensor(a.inputs.front(), "latents");
  const Tensor image = decode_in_batches(*vae, latents, a.tile);
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
      tokenizer, "encode", "Images to moments", *a,
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
      add_tokenizer_user(tokenizer, "decode", "Latents to images", *a,
                         "a safetensors file with `latents` (B, C, h, w), already divided by the latent scale",
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
