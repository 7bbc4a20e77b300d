// crescendo tokenizer: train a KL-VAE, and images <-> moments and latents.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>

#include "crescendo/cli/args.h"
#include "crescendo/cli/field_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/picture_files.h"
#include "crescendo/data/readable.h"
#include "crescendo/image/grid.h"
#include "crescendo/image/resize.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/pipeline/filtered.h"
#include "crescendo/store/model_dir.h"
#include "crescendo/store/tokenizer_source.h"
#include "crescendo/tokenizer/tiles.h"
#include "crescendo/train/tokenizer_training.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargestSide = 11585;  // of a square that is read at all (kMaxImagePixels)

//----------------------------------------------------------------------------
// train

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
  const TensorMap source = from->params().map();
  auto vae = KlVae::random(wanted, seed);
  const at::NoGradGuard no_grad;
  int64_t drawn = 0;
  for (const auto& [name, parameter] : vae->params().items()) {
    const auto it = source.find(name);
    const bool fits = it != source.end() && it->second.sizes() == parameter.sizes();
    const bool learns = !options.freeze_encoder || is_of_decoder(name);
    check_usage(fits || learns, "freeze_encoder needs the encoder of ", a.init, ", whose ", name,
                " has another shape; change the decoder alone");
    if (fits) parameter.copy_(it->second);
    drawn += !fits;
  }
  const auto all = static_cast<int64_t>(vae->params().items().size());
  check(drawn < all, "no weight of ", a.init, " fits this tokenizer");
  log_info(concat(all - drawn, " of ", all, " tensors from ", a.init, ", the rest drawn anew"));
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
  const TokenizerImages images(std::move(sets), seed);
  const at::Device device = a.common.parsed_device();
  const std::unique_ptr<KlVae> vae = first_weights(a, options);
  vae->params().to(device, at::kFloat);
  log_info(concat("tokenizer of ", vae->params().count(), " parameters, factor ", vae->config().factor(), ", ",
                  images.size(), " images, ", device_description(device)));
  make_directories(a.out);
  write_json(fs::path(a.out) / "recipe.json", value_to_json(recipe));
  const TokenizerTrainingResult result = train_tokenizer(*vae, images, options, a.out, interrupted);
  const std::string folder = (fs::path(a.out) / "tokenizer").string();
  log_info(concat(folder, ": ", result.images, " images in ", format_duration(result.seconds), ", PSNR ",
                  std::round(result.quality.psnr * 100) / 100, " dB on ", options.held_out,
                  " held-out images, latent standard deviation ", result.latent_std));
  if (a.common.json) {
    Json report = result.to_json();
    report["tokenizer"] = folder;
    print_json(report);
  }
  check(result.finished, "stopped after ", result.images, " of ", options.images, " images; what was learned is in ",
        folder);
}

//----------------------------------------------------------------------------
// encode, decode, reconstruct, filter

struct Arguments {
  CommonOptions common;
  std::vector<std::string> inputs;
  std::string model, out;
  int64_t size = 0;
  int64_t count = 0;
  int64_t tile = 0;
  std::string filter = "both";
  int64_t levels = 0;
};

struct Loaded {
  fs::path path;
  std::unique_ptr<KlVae> vae;
};

Loaded load(const Arguments& a) {
  a.common.apply();
  check_usage(!a.out.empty(), "where to? Use --out");
  Loaded out{find_tokenizer(a.model), nullptr};
  if (!a.common.dry_run) out.vae = open_tokenizer(out.path, a.common.parsed_device(), a.common.parsed_dtype());
  return out;
}

Json resolved(const Arguments& a, const Loaded& loaded) {
  return {{"inputs", a.inputs},
          {"tokenizer", loaded.path.string()},
          {"out", a.out},
          {"size", a.size},
          {"count", a.count},
          {"tile", a.tile},
          {"filter", a.filter},
          {"levels", a.levels},
          {"device", a.common.device},
          {"dtype", a.common.dtype}};
}

bool is_safetensors(const std::string& path) { return fs::path(path).extension() == ".safetensors"; }

// A picture as it is, or cropped to a square of `size`.
Image read_picture(const fs::path& path, int64_t size) {
  const Image image = read_image(path);
  return size > 0 ? centre_crop(image, size) : image;
}

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

constexpr int64_t kBatch = 8;

// Runs `compute` over pieces of the first dimension, so that memory does not grow with the input. Throws where what
// comes out is not finite.
Tensor in_batches(const Tensor& all, const char* title, const std::function<Tensor(const Tensor&)>& compute) {
  check(all.dim() == 4 && all.size(0) > 0, title, " needs a tensor of 4 dimensions with at least one row, got ",
        all.sizes());
  const at::NoGradGuard no_grad;
  Progress progress(title);
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < all.size(0); first += kBatch) {
    const Tensor some = all.slice(0, first, std::min(all.size(0), first + kBatch));
    parts.push_back(compute(some).to(at::kCPU));
    if (!all_finite(parts.back()))
      fail(title, " made NaN or infinite numbers of row ", first, " and those after it, whose largest number is ",
           some.abs().max().item<double>(), "; numbers about as large as 1 are wanted");
    progress.update(static_cast<double>(std::min(all.size(0), first + kBatch)) / static_cast<double>(all.size(0)),
                    concat(std::min(all.size(0), first + kBatch), " of ", all.size(0)));
    check(!interrupted(), "stopped");
  }
  return at::cat(parts);
}

void run_encode(const Arguments& a) {
  check_usage(is_safetensors(a.out) || a.out.empty(), "--out must be a .safetensors file, got '", a.out, "'");
  const Loaded loaded = load(a);
  if (a.common.dry_run) return print_json(resolved(a, loaded));
  check_writable(a.out, false);
  catch_interrupts();
  const bool tensors = is_safetensors(a.inputs.front());
  check_usage(!tensors || (a.inputs.size() == 1 && a.size == 0),
              "a safetensors input stands alone and takes no --size");
  Tensor image;  // (B, 3, H, W)
  if (tensors) {
    image = named_tensor(a.inputs.front(), "image");
  } else {
    std::vector<Tensor> pictures;
    for (const auto& input : a.inputs) {
      pictures.push_back(image_to_tensor(read_picture(input, a.size)));
      check_usage(pictures.back().sizes() == pictures.front().sizes(), input, " is ", pictures.back().size(2), " x ",
                  pictures.back().size(1), ", ", a.inputs.front(), " is ", pictures.front().size(2), " x ",
                  pictures.front().size(1), "; --size N crops all of them to N x N");
    }
    image = at::stack(pictures);
  }
  const Tensor moments = in_batches(image, "encode", [&](const Tensor& x) { return loaded.vae->encode_moments(x); });
  make_parent(a.out);
  write_safetensors(a.out, {{"moments", moments}},
                    {{"latent_scale", json_text(Json(loaded.vae->config().latent_scale))}});
  if (a.common.json)
    print_json(
        {{"out", a.out}, {"moments", moments.sizes().vec()}, {"latent_scale", loaded.vae->config().latent_scale}});
}

void run_decode(const Arguments& a) {
  const Loaded loaded = load(a);
  if (a.common.dry_run) return print_json(resolved(a, loaded));
  const bool tensors = is_safetensors(a.out);
  check_writable(a.out, !tensors);
  catch_interrupts();
  const Tensor latents = named_tensor(a.inputs.front(), "latents");
  const auto decode_whole = [&](const Tensor& z) { return loaded.vae->decode(z); };
  const Tensor image = in_batches(latents, "decode", [&](const Tensor& z) {
    if (a.tile == 0) return decode_whole(z);
    return decode_in_tiles(z, {a.tile, a.tile / 4}, loaded.vae->config().factor(), decode_whole);
  });
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

struct Picture {
  std::string name;
  Image image;
};

// Files, folders (their pictures at any depth, by name) and data sets, at most `count` of each where it is given.
std::vector<Picture> read_pictures(const Arguments& a, int64_t factor) {
  std::vector<Picture> out;
  const auto enough = [&](size_t begin) { return a.count > 0 && out.size() - begin >= static_cast<size_t>(a.count); };
  for (const auto& input : a.inputs) {
    const size_t begin = out.size();
    if (input == "shapes" || input == "scenes" || input.starts_with("shapes:") || input.starts_with("scenes:")) {
      const auto set = open_dataset(input, a.size > 0 ? a.size : kShapesSide);
      check_usage(a.count > 0, "how many pictures of ", input, "? Use --count N");
      for (int64_t i = 0; i < set->size() && !enough(begin); ++i)
        out.push_back({concat(input, " ", i), tensor_to_image(set->get(i).image)});
      continue;
    }
    std::vector<fs::path> files{input};
    if (fs::is_directory(input)) {
      const PictureFiles found = find_pictures(input);
      files = found.pictures;
      check(!files.empty(), input, " holds no .png, .jpg or .jpeg file");
      if (!found.unread.empty()) log_warning(concat(input, ": ", found.unread_text(), ", left out"));
    }
    for (const auto& file : files) {
      if (enough(begin)) break;
      out.push_back({file.string(), read_picture(file, a.size)});
    }
  }
  for (const Picture& p : out)
    check_usage(p.image.width % factor == 0 && p.image.height % factor == 0, p.name, " is ", p.image.width, " x ",
                p.image.height, "; the sides must be multiples of ", factor, ": --size N crops to N x N");
  return out;
}

double square_error(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    const double d = static_cast<double>(a.rgb[i]) - static_cast<double>(b.rgb[i]);
    sum += d * d;
  }
  return sum / static_cast<double>(a.rgb.size());
}

double byte_psnr(double mean_square) { return 10 * std::log10(255.0 * 255.0 / std::max(mean_square, 1e-9)); }

void run_reconstruct(const Arguments& a) {
  check_picture_name(a.out, "--out");
  const Loaded loaded = load(a);
  if (a.common.dry_run) return print_json(resolved(a, loaded));
  check_writable(a.out, false);
  catch_interrupts();
  const at::NoGradGuard no_grad;
  const std::vector<Picture> pictures = read_pictures(a, loaded.vae->config().factor());
  GridOptions grid;
  grid.columns = 2;
  grid.column_labels = {"original", "decoded"};
  std::vector<Image> shown;
  Json rows = Json::array();
  double total = 0, seconds = 0;
  Progress progress("reconstruct");
  for (const Picture& p : pictures) {
    if (interrupted()) break;
    const double start_s = now_s();
    const Tensor moments = loaded.vae->encode_moments(image_to_tensor(p.image).unsqueeze(0));
    const Image decoded = tensor_to_image(loaded.vae->decode(posterior_mean(moments)));
    seconds += now_s() - start_s;
    const double error = square_error(p.image, decoded);
    total += error;
    rows.push_back({{"image", p.name}, {"psnr", byte_psnr(error)}});
    shown.push_back(p.image);
    shown.push_back(decoded);
    progress.update(static_cast<double>(rows.size()) / static_cast<double>(pictures.size()),
                    concat(rows.size(), " of ", pictures.size()));
  }
  check(!rows.empty(), "stopped before the first picture was done");
  progress.finish();
  make_parent(a.out);
  write_png(a.out, make_grid(shown, grid));
  const auto n = static_cast<double>(rows.size());
  if (a.common.json)
    return print_json(
        {{"psnr", byte_psnr(total / n)}, {"images", rows}, {"out", a.out}, {"seconds_per_image", seconds / n}});
  for (const auto& row : rows)
    std::printf("%6.2f dB  %s\n", row["psnr"].get<double>(), row["image"].get<std::string>().c_str());
  std::printf("%6.2f dB  over all, %s\n", byte_psnr(total / n), a.out.c_str());
}

// Frequency levels of the model that a tokenizer belongs to; 0 where it stands alone.
int64_t levels_beside(const fs::path& tokenizer) {
  const fs::path model = tokenizer.parent_path();
  return tokenizer.filename() == "tokenizer" && is_model_dir(model) ? load_model_info(model).model.levels : 0;
}

// Pictures under the filters of the paper at every level: a row per picture and filter, a column per level.
void run_filter(const Arguments& a) {
  check_picture_name(a.out, "--out");
  std::vector<FilterType> filters{FilterType::kSpatial, FilterType::kFourier};
  if (a.filter != "both") filters = {parse_enum<FilterType>(a.filter, "--filter")};
  const Loaded loaded = load(a);
  constexpr int64_t kPaperLevels = 16;
  const int64_t beside = levels_beside(loaded.path), levels = a.levels > 0 ? a.levels
                                                              : beside > 0 ? beside
                                                                           : kPaperLevels;
  if (a.common.dry_run) {
    Json plan = resolved(a, loaded);
    plan["levels"] = levels;
    return print_json(plan);
  }
  check_writable(a.out, false);
  catch_interrupts();
  GridOptions grid;
  grid.columns = levels;
  for (int64_t level = 1; level <= levels; ++level) grid.column_labels.push_back(concat("level ", level));
  const std::vector<Picture> pictures = read_pictures(a, loaded.vae->config().factor());
  const size_t rows = pictures.size() * filters.size();
  std::vector<Image> shown;
  Progress progress("filter");
  for (const Picture& p : pictures)
    for (const FilterType filter : filters) {
      check(!interrupted(), "stopped");
      const std::vector<Image> row = filtered_pictures(*loaded.vae, p.image, filter, levels);
      shown.insert(shown.end(), row.begin(), row.end());
      grid.row_labels.push_back(concat(fs::path(p.name).filename().string(), " ", enum_name(filter)));
      progress.update(static_cast<double>(grid.row_labels.size()) / static_cast<double>(rows),
                      concat(grid.row_labels.size(), " of ", rows));
    }
  progress.finish();
  make_parent(a.out);
  write_png(a.out, make_grid(shown, grid));
  if (a.common.json) return print_json({{"out", a.out}, {"levels", levels}, {"rows", grid.row_labels}});
  log_info("wrote " + a.out);
}

}  // namespace

//----------------------------------------------------------------------------

void add_tokenizer_command(CLI::App& app) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Train and use the image tokenizer (KL-VAE)");
  tokenizer->require_subcommand(1);
  const std::string what = "What", output = "Output";

  CLI::App* train = tokenizer->add_subcommand("train", "Train a tokenizer");
  const auto t = std::make_shared<TrainArguments>();
  train->add_option("config", t->config_file, "config file (JSON), e.g. configs/shapes-64-tokenizer.json")
      ->type_name("FILE")
      ->group(what);
  train->add_option("--preset", t->preset, "in place of a config file: shapes-64 or kl16")
      ->type_name("NAME")
      ->group(what);
  train->add_option("--data", t->data, "shapes[:count=N,seed=S] or a folder of images; repeatable: several are mixed")
      ->type_name("SPEC")
      ->allow_extra_args(false)
      ->group(what);
  train->add_option("--set", t->set, "key=value over the config: --set loss.kl=0.01 is --loss.kl 0.01; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->group(what);
  add_number(
      *train, "--skip-bad", t->skip_bad,
      "go on without up to N images of a set that cannot be read; they are named (default: the config's, else 0)", 0)
      ->group(what);
  train->add_option("--init", t->init, "start from this tokenizer's weights")->type_name("DIR")->group(what);
  train
      ->add_flag("--init-partial", t->init_partial,
                 "--init may have other sizes: take what has the same name and shape, draw the rest")
      ->group(what);
  CLI::Option* seed =
      add_number(*train, "--seed", t->seed, "seed of weights, order and noise (default: the config's)", 0)->group(what);
  train->add_option("--out", t->out, "run folder: log.jsonl and tokenizer/")->type_name("DIR")->group(output);
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

  const auto add = [&](const char* name, const char* description, const std::shared_ptr<Arguments>& a,
                       const std::string& input, const std::string& out) {
    CLI::App* command = tokenizer->add_subcommand(name, description);
    command->add_option("inputs", a->inputs, input)->type_name("FILE")->required()->group(what);
    command
        ->add_option(
            "--model", a->model,
            "tokenizer folder, a model that has one, or a file such as kl16.ckpt; default: the model in the box")
        ->type_name("FILE|DIR")
        ->group(what);
    command->add_option("--out", a->out, out)->type_name("FILE")->group(output);
    a->common.add(*command);
    return command;
  };
  const auto e = std::make_shared<Arguments>();
  CLI::App* encode = add("encode", "Images to moments", e,
                         "a safetensors file with `image` (B, 3, H, W) in [-1, 1], or image files", "file.safetensors");
  add_number(*encode, "--size", e->size, "crop image files to a square of N pixels", 1, kLargestSide)->group(what);
  add_examples(*encode, {"tokenizer encode photo.png --size 64 --out moments.safetensors",
                         "tokenizer encode images.safetensors --model models/kl16 --out moments.safetensors"});
  encode->callback([e] { run_encode(*e); });

  const auto d = std::make_shared<Arguments>();
  CLI::App* decode = add("decode", "Latents to images", d,
                         "a safetensors file with `latents` (B, C, h, w), already divided by the latent scale",
                         "file.safetensors, or a folder for PNGs");
  decode->get_option("inputs")->expected(1);
  add_number(*decode, "--tile", d->tile,
             "decode in blended tiles of N x N cells of the latent, where the whole is too much for memory", 4, 1 << 20)
      ->group(what);
  add_examples(*decode, {"tokenizer decode latents.safetensors --out pictures/",
                         "tokenizer decode latents.safetensors --model models/kl16 --out images.safetensors"});
  decode->callback([d] { run_decode(*d); });

  const auto r = std::make_shared<Arguments>();
  CLI::App* reconstruct = add("reconstruct", "Images through the tokenizer and back, side by side, with PSNR", r,
                              "image files, folders of them, or shapes", "picture of the pairs, a .png");
  add_number(*reconstruct, "--size", r->size, "crop to a square of N pixels", 1, kLargestSide)->group(what);
  add_number(*reconstruct, "--count", r->count, "pictures of each input; default: all", 1)->group(what);
  add_examples(*reconstruct,
               {"tokenizer reconstruct shapes:seed=3 --count 8 --out pairs.png",
                "tokenizer reconstruct photos/ --model runs/photos/tokenizer --size 128 --out pairs.png"});
  reconstruct->callback([r] { run_reconstruct(*r); });

  const auto f = std::make_shared<Arguments>();
  CLI::App* filter = add("filter", "Images under the low-pass filters at every frequency level", f,
                         "image files, folders of them, or shapes", "picture of all levels, a .png");
  filter->add_option("--filter", f->filter, "spatial (a), fourier (b) or both")->capture_default_str()->group(what);
  filter->add_option("--levels", f->levels, "frequency levels (default: the model's, else 16)")
      ->check(CLI::PositiveNumber)
      ->group(what);
  filter->add_option("--size", f->size, "crop to a square of N pixels")->check(CLI::PositiveNumber)->group(what);
  filter->add_option("--count", f->count, "pictures of each input; default: all")
      ->check(CLI::PositiveNumber)
      ->group(what);
  add_examples(*filter, {"tokenizer filter photo.jpg --size 64 --out levels.png",
                         "tokenizer filter shapes:seed=3 --count 4 --filter spatial --out levels.png"});
  filter->callback([f] { run_filter(*f); });
}

}  // namespace crescendo
