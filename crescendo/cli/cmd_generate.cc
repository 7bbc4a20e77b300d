#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/rng.h"
#include "crescendo/core/utf8.h"
#include "crescendo/image/grid.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/pipeline/memory.h"
#include "crescendo/pipeline/parameters.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

struct Arguments {
  CommonOptions common;
  SamplerArgs sampler;
  std::string model;
  std::vector<std::string> classes;
  std::vector<std::string> prompts;
  std::string prompts_file;
  std::string text_states;
  TextEncoderPlace text_encoder;
  int64_t count = 1;
  int64_t batch = 8;
  std::optional<uint64_t> seed;
  std::string out;
  std::string grid, strip;
  int64_t grid_scale = 1;
  std::optional<std::string> strip_of;
  std::string noise, latents_out, trace;
  bool no_decode = false;
  bool no_metadata = false;
};

// What one image was asked to be.
struct Asked {
  std::string prompt;  // class name or prompt, for file names and metadata
  int64_t label = -1;
};

std::string slug(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, 48)) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  return out;
}

// "shapes-64"; "run/model" for the folder that train writes into `run`.
std::string short_name(const fs::path& dir) {
  const auto path = fs::canonical(dir);
  const fs::path name = path.filename() == "model" ? path.parent_path().filename() / path.filename() : path.filename();
  return replace_invalid_utf8(name.string());
}

// What makes a picture again, besides its class or prompt.
Json made_with(const Arguments& a, const std::string& model, uint64_t seed, const Json& sampler) {
  return {{"version", CRESCENDO_VERSION}, {"model", model},          {"seed", seed},
          {"sampler", sampler},           {"dtype", a.common.dtype}, {"int8", a.sampler.int8}};
}

// The de-facto standard text (ecosystem of image tools), and our own JSON that makes the image again.
PngText png_text(const ModelInfo& info, const std::string& model, const Asked& asked, uint64_t seed,
                 const Json& sampler, int64_t steps, const Image& image, Json again) {
  again["kind"] = info.model.kind();
  if (asked.label >= 0) again["class"] = asked.label;
  again[asked.label >= 0 ? "class_name" : "prompt"] = asked.prompt;
  const std::string parameters = parameters_text(asked.prompt, {{"Steps", concat(steps)},
                                                                {"Sampler", sampler["preset"].get<std::string>()},
                                                                {"CFG scale", json_text(sampler["cfg"])},
                                                                {"Seed", concat(seed)},
                                                                {"Size", concat(image.width, "x", image.height)},
                                                                {"Model", model},
                                                                {"Version", "crescendo " CRESCENDO_VERSION}});
  return {{"parameters", parameters}, {"crescendo", json_text(again)}};
}

// What is to be shown: every class, prompt or row of text states.
std::vector<Asked> kinds_of(const Arguments& a, const ModelInfo& info, Request& request) {
  std::vector<Asked> kinds;
  if (info.model.is_text()) {
    check(a.classes.empty(), "this model makes pictures from text: use --prompt, not --class");
    check_usage(!a.prompts.empty() + !a.prompts_file.empty() + !a.text_states.empty() == 1,
                "this model makes pictures from text: use one of --prompt, --prompts and --text-states");
    for (const auto& prompt : a.prompts) kinds.push_back({clean_text(prompt)});
    if (!a.prompts_file.empty())
      for (auto& prompt : read_prompts(a.prompts_file)) kinds.push_back({std::move(prompt)});
    if (!a.text_states.empty()) {
      request.text = get_tensor(read_safetensors(a.text_states).tensors, "text", a.text_states).to(at::kFloat);
      check_finite(request.text, "text", a.text_states);
      check(request.text.dim() == 3, a.text_states, ": text must be [B, N, hidden], got ", request.text.sizes());
      for (int64_t i = 0; i < request.text.size(0); ++i) kinds.push_back({concat("text ", i)});
    }
  } else {
    check_usage(
        a.prompts.empty() && a.prompts_file.empty() && a.text_states.empty(),
        "this model makes pictures of classes: use --class; --prompt, --prompts and --text-states are for text models");
    check_usage(!a.classes.empty(), "which classes? Use --class NAME or number",
                info.labels.empty() ? "" : ", e.g. --class \"" + info.labels.front() + "\"");
    for (const auto& name : a.classes) {
      const int64_t label = find_class(info, name);
      kinds.push_back({class_name(info, label), label});
    }
  }
  return kinds;
}

// What each image is to show, in order: each kind -n times.
std::vector<Asked> asked_for(const std::vector<Asked>& kinds, int64_t count, Request& request) {
  std::vector<Asked> asked;
  for (size_t k = 0; k < kinds.size(); ++k)
    for (int64_t i = 0; i < count; ++i) {
      asked.push_back(kinds[k]);
      if (kinds[k].label >= 0) request.labels.push_back(kinds[k].label);
      if (request.text.defined()) request.text_rows.push_back(static_cast<int64_t>(k));
    }
  return asked;
}

// Throws where what is kept until the end, or one batch, cannot fit into memory.
void check_fits(const Arguments& a, const fs::path& dir, const ModelConfig& model, const Plan& plan, size_t kinds) {
  const double images = static_cast<double>(kinds) * static_cast<double>(a.count);
  const auto steps = static_cast<double>(plan.steps.size());
  const auto vae = a.no_decode ? std::nullopt : decoder_of(dir);
  double kept = 512;  // an image's place in the request and its entry in the result
  if (!a.latents_out.empty()) kept += latent_bytes(model);
  if (!a.trace.empty()) kept += steps * latent_bytes(model);
  const auto enlarged = static_cast<double>(a.grid_scale * a.grid_scale);
  const double shown = (a.grid_scale > 1 ? 1 + enlarged : 1) * (vae ? picture_bytes(model, *vae) : 0);
  if (!a.grid.empty()) kept += shown;
  if (!a.strip.empty()) kept += steps * shown;
  const double batch = a.common.parsed_device().is_cpu() ? std::min(images, static_cast<double>(a.batch)) : 0;
  check_fits_memory(
      images * kept + batch * sampling_bytes(model, vae),
      concat("a request for ", std::fixed, std::setprecision(0), images, " images in batches of ", a.batch),
      "ask for fewer with -n, or a smaller --batch");
}

// Before the image model is loaded, and gone again by then: the encoder may be the larger of the two.
void encode_asked(const Arguments& a, const fs::path& dir, const ModelInfo& info, const std::vector<Asked>& asked,
                  Request& request) {
  std::vector<std::string> prompts;
  for (const Asked& image : asked) prompts.push_back(image.prompt);
  const at::Device device = a.text_encoder.parsed_device(a.common);
  const double start_s = now_s();
  encode_prompts(load_text_encoder(dir / kTextEncoderFolder, info.model, device, a.common.parsed_dtype()), prompts,
                 request);
  log_verbose(concat(request.text.size(0), " prompts encoded on ", device_description(device), " in ",
                     format_duration(now_s() - start_s)));
}

void run(Arguments& a) {
  a.common.apply();
  const bool from_text = !a.prompts.empty() || !a.prompts_file.empty() || !a.text_states.empty();
  const fs::path dir = find_model(a.model.empty() && from_text ? kDefaultTextModel : a.model);
  const ModelInfo info = load_model_info(dir);
  const std::string model_name = short_name(dir);

  Request request;
  request.sampler = a.sampler.fields.given();
  const SamplerOptions sampler = a.sampler.over(info);
  const Plan plan = make_plan(sampler, info.model);
  const std::vector<Asked> kinds = kinds_of(a, info, request);
  check_fits(a, dir, info.model, plan, kinds.size());
  const std::vector<Asked> asked = asked_for(kinds, a.count, request);
  const auto size = static_cast<int64_t>(asked.size());
  const uint64_t seed = a.seed ? *a.seed : random_seed();
  request.seeds = seeds_from(seed, size);
  request.batch = a.batch;
  request.decode = !a.no_decode;
  request.strip = !a.strip.empty();
  check_usage(request.strip || !a.strip_of, "--strip-of says what --strip FILE.png shows: give that, too");
  if (a.strip_of) request.strip_of = parse_enum<StripOf>(*a.strip_of, "--strip-of");
  request.trace = !a.trace.empty();
  if (!a.noise.empty()) {
    request.noise = read_safetensors(a.noise).tensors;
    check_finite(request.noise, a.noise);
  }
  check_usage(request.decode || (a.grid.empty() && a.strip.empty() && a.out.empty()),
              "--no-decode makes no pictures: --out, --grid and --strip contradict it");
  check_usage(request.decode || !a.latents_out.empty() || !a.trace.empty(),
              "--no-decode without --latents-out or --trace makes nothing");

  check_picture_name(a.grid, "--grid");
  check_picture_name(a.strip, "--strip");

  // One picture may go to a file; several go to a folder.
  const bool single_file = is_png_name(a.out);
  const std::string extension = fs::path(a.out).extension().string();
  for (const char* other : {".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
    check_usage(extension != other, "--out ", a.out, ": pictures are written as PNG; name FILE.png or a folder");
  check_usage(!single_file || size == 1, "--out ", a.out, " names one file, but ", size,
              " images were asked for; give a folder");
  const bool write_images =
      request.decode &&
      (!a.out.empty() || (a.grid.empty() && a.strip.empty() && a.latents_out.empty() && a.trace.empty()));
  const std::string out = a.out.empty() ? "out" : a.out;
  const Json sampler_json = value_to_json(sampler);
  if (a.common.dry_run) {
    if (const auto warning = noise_warning(plan)) log_warning(*warning);
    return print_json({{"model", dir.string()},
                       {"images", size},
                       {"seed", seed},
                       {"batch", request.batch},
                       {"device", a.common.device},
                       {"dtype", a.common.dtype},
                       {"int8", a.sampler.int8},
                       {"sampler", sampler_json},
                       {"plan", plan_to_json(plan)}});
  }
  if (write_images) check_writable(out, !single_file);
  for (const auto& file : {a.grid, a.strip, a.latents_out, a.trace})
    if (!file.empty()) check_writable(file, false);

  catch_interrupts();
  const double start_s = now_s();
  if (info.model.is_text() && a.text_states.empty()) encode_asked(a, dir, info, asked, request);
  const auto pipeline =
      Pipeline::load(dir, {a.common.parsed_device(), a.common.parsed_dtype(), request.decode, a.sampler.int8});
  log_verbose(concat(model_name, ": ", pipeline->model().params().count(), " parameters on ",
                     device_description(a.common.parsed_device())));
  if (!a.seed) log_info(concat("seed ", seed));
  if (write_images && !single_file) make_directories(out);
  for (const auto& file : {single_file ? out : "", a.grid, a.strip, a.latents_out, a.trace})
    if (!file.empty()) make_parent(file);

  Json files = Json::array();
  std::vector<Generated> kept;  // for what is written at the end
  const bool keep = !a.grid.empty() || !a.strip.empty() || !a.latents_out.empty() || !a.trace.empty();
  Progress bar("generating");
  PipelineHooks hooks;
  hooks.on_progress = [&](double done, const std::string& detail) {
    bar.update(done, detail);
    return !interrupted();
  };
  hooks.on_image = [&](Generated g) {
    const auto i = static_cast<size_t>(g.index);
    Json entry = {{"seed", request.seeds[i]}, {"prompt", asked[i].prompt}};
    if (asked[i].label >= 0) entry["class"] = asked[i].label;
    if (write_images) {
      char number[16];
      std::snprintf(number, sizeof number, "%05zu", i);
      const fs::path path =
          single_file ? fs::path(out)
                      : fs::path(out) / concat(number, "-", slug(asked[i].prompt), "-", request.seeds[i], ".png");
      write_png(path, g.image,
                a.no_metadata ? PngText{}
                              : png_text(info, model_name, asked[i], request.seeds[i], sampler_json,
                                         static_cast<int64_t>(plan.steps.size()), g.image,
                                         made_with(a, model_name, request.seeds[i], sampler_json)));
      entry["file"] = path.string();
    }
    files.push_back(entry);
    if (keep) kept.push_back(std::move(g));
  };
  const bool complete = pipeline->generate(request, hooks);
  const double seconds = now_s() - start_s;
  bar.finish();

  const auto write_sheet = [&](const std::string& path, const std::vector<Image>& images, const GridOptions& options) {
    if (images.empty()) return;
    write_png(
        path, make_grid(images, options),
        a.no_metadata ? PngText{} : PngText{{"crescendo", json_text(made_with(a, model_name, seed, sampler_json))}});
    log_info("wrote " + path);
  };
  if (!a.grid.empty()) {
    std::vector<Image> images;
    GridOptions options;
    options.scale = a.grid_scale;
    for (const Generated& g : kept) {
      images.push_back(g.image);
      options.captions.push_back(asked[static_cast<size_t>(g.index)].prompt);
    }
    write_sheet(a.grid, images, options);
  }
  if (!a.strip.empty()) {
    std::vector<Image> images;
    GridOptions options;
    options.scale = a.grid_scale;
    options.columns = static_cast<int64_t>(plan.steps.size());
    options.column_labels = strip_labels(plan, request.strip_of, info.model);
    for (const Generated& g : kept) {
      images.insert(images.end(), g.strip.begin(), g.strip.end());
      options.row_labels.push_back(asked[static_cast<size_t>(g.index)].prompt);
    }
    write_sheet(a.strip, images, options);
  }
  if (complete && !a.latents_out.empty()) {
    std::vector<Tensor> latents;
    for (const Generated& g : kept) latents.push_back(g.latent);
    write_safetensors(a.latents_out, {{"latents", at::stack(latents)}});
  }
  if (complete && !a.trace.empty()) {
    std::vector<Tensor> traces;
    for (const Generated& g : kept) traces.push_back(g.trace);
    write_safetensors(a.trace, {{"inputs", at::stack(traces, 1)}});  // [S, B, L, C]
  }
  if (a.common.json) {
    print_json(
        {{"model", model_name}, {"seed", seed}, {"seconds", seconds}, {"complete", complete}, {"images", files}});
  } else if (write_images && !files.empty()) {
    log_info(concat(
        files.size(), files.size() == 1 ? " image in " : " images in ", format_duration(seconds), ": ",
        single_file ? out : out + "/",
        files.size() == 1 && !single_file ? fs::path(files[0]["file"].get<std::string>()).filename().string() : ""));
  }
  check(complete, "stopped; ", files.size(), " of ", size, " images were finished and kept");
}

}  // namespace

void add_generate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "Make pictures");
  auto a = std::make_shared<Arguments>();
  const std::string what = "What", output = "Output", tensors = "Tensors, for tests and research";
  command
      ->add_option("--model", a->model,
                   "model directory, or a name in $CRESCENDO_MODELS or in the box (default: shapes-64, for prompts "
                   "shapes-text-64)")
      ->group(what);
  command
      ->add_option("--class", a->classes,
                   "class by name or number, a name first; id:N is number N whatever the names; several make several "
                   "pictures")
      ->group(what);
  command->add_option("--prompt", a->prompts, "text; several make several pictures; an empty one is unconditional")
      ->group(what);
  command->add_option("--prompts", a->prompts_file, "file of prompts: one a line, or JSON lines {\"prompt\": ...}")
      ->group(what);
  add_number(*command, "-n", a->count, "pictures of each", 1)->capture_default_str()->group(what);
  add_number(*command, "--seed", a->seed, "image i takes seed + i (default: drawn and printed)")->group(what);
  add_number(*command, "--batch", a->batch, "images at a time; changes speed, not the images", 1)
      ->capture_default_str()
      ->group(what);
  a->text_encoder.add(*command)->group(what);
  command->add_option("--out", a->out, "FILE.png for one picture, else a folder (default: out)")->group(output);
  command->add_option("--grid", a->grid, "FILE.png: all pictures on a labelled sheet")->group(output);
  command->add_option("--strip", a->strip, "FILE.png: a row per picture, a column per outer step, labelled by level")
      ->group(output);
  add_number(*command, "--grid-scale", a->grid_scale, "--grid and --strip show pictures and labels N times as large", 1)
      ->check(CLI::Range(1, 16))
      ->capture_default_str()
      ->group(output);
  command
      ->add_option("--strip-of", a->strip_of,
                   "what --strip shows: predictions (default), or inputs: what the filter leaves of each for the next "
                   "step")
      ->group(output);
  command->add_flag("--no-metadata", a->no_metadata, "leave out of the PNG what makes it again")->group(output);
  command
      ->add_option("--noise", a->noise,
                   "FILE.safetensors with noise_init [S,B,L,C], noise_step [S,T,B,L,C], order [B,L]")
      ->group(tensors);
  command->add_option("--text-states", a->text_states, "FILE.safetensors with text [B,N,hidden] in place of prompts")
      ->group(tensors);
  command
      ->add_option("--latents-out", a->latents_out,
                   "FILE.safetensors: latents [B,C,H,W] before division by the latent scale")
      ->group(tensors);
  command->add_option("--trace", a->trace, "FILE.safetensors: inputs [S,B,L,C], the tokens entering each step")
      ->group(tensors);
  command->add_flag("--no-decode", a->no_decode, "stop at the latents")->group(tensors);
  a->sampler.add(*command);
  a->common.add(*command);
  add_examples(*command,
               {"generate --class \"red circle\" \"green heart\" -n 4 --seed 1 --grid grid.png --strip strip.png",
                "generate --prompt \"a red circle left of a blue square\" --out scene.png"});
  command->callback([a] { run(*a); });
}

}  // namespace crescendo
