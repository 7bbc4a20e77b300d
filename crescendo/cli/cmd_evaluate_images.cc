// crescendo evaluate images: FID, Inception Score, KID, precision and recall of pictures, or of a model that draws
// them.
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/evaluate_args.h"
#include "crescendo/cli/model_pictures.h"
#include "crescendo/core/file.h"
#include "crescendo/core/hash.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/grid.h"
#include "crescendo/metrics/class_plot.h"
#include "crescendo/metrics/nearest.h"
#include "crescendo/pipeline/memory.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

enum class LabelPolicy { kBalanced, kRandom };
constexpr auto enum_table(LabelPolicy) {
  return std::array{EnumName{LabelPolicy::kBalanced, "balanced"}, EnumName{LabelPolicy::kRandom, "random"}};
}

struct Arguments {
  CommonOptions common;
  NetworkArgs network;
  MetricsArgs metrics;
  PictureArgs pictures;
  std::string input, against, protocol, out, work, nearest, class_plot;
  // A model in place of the input.
  SamplerArgs sampler;
  std::string model, labels = "balanced", prompts, samples, model_dtype = "fp32";
  int64_t count = 0;
  uint64_t seed = 0;
  TextEncoderPlace text_encoder;
};

constexpr int64_t kShownRows = 8, kShownNeighbours = 5;

// The pictures that a model is to draw. Number i has seed `seed` + i, and balanced labels take turns, so that what was
// done when a run is stopped is balanced, too.
struct ModelJob {
  fs::path dir;
  ModelInfo info;
  SamplerOptions sampler;
  Plan plan;
  Wanted wanted;
  Json what;
};

ModelJob model_job(const Arguments& a) {
  ModelJob job;
  job.dir = find_model(a.model.empty() && !a.prompts.empty() ? kDefaultTextModel : a.model);
  job.info = load_model_info(job.dir);
  job.sampler = a.sampler.over(job.info);
  job.plan = make_plan(job.sampler, job.info.model);
  const auto policy = parse_enum<LabelPolicy>(a.labels, "--labels");
  int64_t count = a.count;
  std::vector<std::string> prompts;
  if (job.info.model.is_text()) {
    check_usage(!a.prompts.empty(), job.dir.string(),
                " makes pictures from text: --prompts names a file of prompts, such as evaluate captions writes");
    prompts = read_prompts(a.prompts);
    if (count == 0) count = static_cast<int64_t>(prompts.size());
  } else {
    check_usage(a.prompts.empty(), job.dir.string(), " makes pictures of classes: --prompts is for text models");
  }
  check_usage(count > 0, "how many pictures is the model to draw? Say --num-images, e.g. 50000");
  job.wanted.seeds = seeds_from(a.seed, count);
  for (int64_t i = 0; i < count; ++i) {
    if (!prompts.empty())
      job.wanted.prompts.push_back(prompts[static_cast<size_t>(i) % prompts.size()]);
    else if (policy == LabelPolicy::kBalanced)
      job.wanted.labels.push_back(i % job.info.model.classes);
    else
      job.wanted.labels.push_back(
          Rng(a.seed, Draw::kOther).seek(static_cast<uint64_t>(4 * i)).below(job.info.model.classes));
  }
  std::error_code none;
  const auto weights = job.dir / "model.safetensors";
  const auto time = fs::last_write_time(weights, none).time_since_epoch().count();
  Hash64 asked;
  for (const std::string& prompt : job.wanted.prompts) asked.add(prompt);
  job.what = {{"model", job.dir.string()},
              {"weights_time", none ? 0 : static_cast<int64_t>(time)},
              {"count", count},
              {"seed", a.seed},
              {"dtype", a.model_dtype},
              {"int8", a.sampler.int8},
              {"sampler", value_to_json(job.sampler)}};
  if (prompts.empty())
    job.what["labels"] = a.labels;
  else
    job.what["prompts"] = {{"file", a.prompts}, {"hash", asked.value()}};
  return job;
}

void check_fits(const Arguments& a, const ModelJob& job) {
  const double images = static_cast<double>(std::min(job.wanted.size(), a.network.batch));
  const double sampling = a.common.parsed_device().is_cpu() ? sampling_bytes(job.info.model, decoder_of(job.dir)) : 0;
  check_fits_memory(images * sampling, concat("a batch of ", a.network.batch, " pictures"),
                    "ask for a smaller --batch");
}

std::string picture_name(int64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%06lld.png", static_cast<long long>(number));
  return text;
}

// `shown` gets the first pictures, and --samples all of them.
PictureFeed feed_of_model(const Arguments& a, const ModelJob& job, const ModelPictures& drawer,
                          std::vector<Image>& shown) {
  PictureFeed feed;
  feed.size = job.wanted.size();
  feed.ahead = false;  // drawing and looking share the device
  feed.what = job.what;
  feed.name = [](int64_t i) { return concat("picture ", i, " of the model"); };
  feed.fetch = [&](int64_t first, int64_t count) {
    std::vector<Image> images = drawer.draw(job.wanted.part(first, count));
    for (size_t k = 0; k < images.size(); ++k) {
      const int64_t number = first + static_cast<int64_t>(k);
      if (!a.samples.empty()) write_png(fs::path(a.samples) / picture_name(number), images[k]);
      if (number == static_cast<int64_t>(shown.size()) && number < kShownRows) shown.push_back(images[k]);
    }
    return images;
  };
  return feed;
}

LookedAt look_at_model(const Arguments& a, const ModelJob& job, const FeatureExtractor& network,
                       const FeaturePassOptions& pass, std::vector<Image>& shown) {
  const ModelPictures drawer(job.dir, job.info, a.common.parsed_device(), parse_dtype(a.model_dtype), a.sampler,
                             a.text_encoder.parsed_device(a.common), a.network.batch);
  if (!a.samples.empty()) make_directories(a.samples);
  const PictureFeed feed = feed_of_model(a, job, drawer, shown);
  PictureFeatures found = feature_pass(feed, network, pass, "drawing and looking");
  // Those that an earlier run drew are drawn again to be shown.
  if (!a.nearest.empty() && static_cast<int64_t>(shown.size()) < std::min(kShownRows, found.done))
    shown = drawer.draw(job.wanted.part(0, std::min(kShownRows, found.done)));
  LookedAt out;
  out.set.name = job.dir.string();
  out.set.statistics = std::move(found.statistics);
  out.set.statistics->name = out.set.name;
  out.set.statistics->version = CRESCENDO_VERSION;
  out.set.pool = std::move(found.features);
  out.set.logits = std::move(found.logits);
  out.complete = found.complete();
  out.done = found.done;
  out.of = found.of;
  if (!job.wanted.labels.empty())
    out.set.labels.assign(job.wanted.labels.begin(), job.wanted.labels.begin() + found.done);
  return out;
}

// A row a generated picture: itself, then the real ones whose features are nearest.
void write_nearest(const Arguments& a, const LookedAt& real, const LookedAt& generated,
                   const std::vector<Image>& shown) {
  const auto rows =
      nearest_rows(generated.set.pool, static_cast<int64_t>(shown.size()), real.set.pool, kShownNeighbours);
  GridOptions grid;
  std::vector<Image> images;
  grid.columns = 1 + static_cast<int64_t>(rows.empty() ? 0 : rows.front().size());
  grid.column_labels = {"generated"};
  for (int64_t k = 1; k < grid.columns; ++k) grid.column_labels.push_back(concat("real, ", k));
  for (size_t i = 0; i < rows.size(); ++i) {
    images.push_back(shown[i]);
    for (const int64_t number : rows[i]) images.push_back(real.source->get(number));
  }
  write_png(a.nearest, make_grid(images, grid));
  log_info("wrote " + a.nearest);
}

void write_class_plot(const Arguments& a, const EvaluationReport& report, const std::vector<std::string>& names) {
  ClassPlot plot;
  plot.title = concat("Precision and recall of ", report.classes.size(), " classes");
  if (!names.empty())
    plot.name = [&](int64_t id) {
      return static_cast<size_t>(id) < names.size() ? names[static_cast<size_t>(id)] : std::to_string(id);
    };
  write_file_atomically(a.class_plot, class_plot_svg(report.classes, plot));
  log_info("wrote " + a.class_plot);
}

bool sorted_by_class(const std::vector<int64_t>& labels) {
  return labels.size() > 1 && std::is_sorted(labels.begin(), labels.end()) && labels.front() != labels.back();
}

void run(const Arguments& a) {
  a.common.apply();
  a.network.check_values();
  const bool of_model = a.input.empty();
  check_usage(
      !of_model || !a.model.empty() || a.count > 0 || !a.prompts.empty(),
      "what is to be evaluated? Name a folder, an .npz or statistics, or a model with --model and --num-images");
  check_usage(a.model_dtype == "fp32" || a.model_dtype == "bf16", "--model-dtype must be fp32 or bf16, got '",
              a.model_dtype, "'");
  check_usage((a.nearest.empty() && a.class_plot.empty()) || !a.against.empty(),
              "--nearest and --class-plot show real pictures beside generated ones: name them with --against");
  check_picture_name(a.nearest, "--nearest");
  check_usage(!of_model || a.pictures.options.count == 0,
              "--count is of an input's pictures; a model draws --num-images");
  a.metrics.options(!a.against.empty(), true, false);  // names that mean nothing are found before the work

  std::optional<ModelJob> job;
  if (of_model) job = model_job(a);
  if (a.common.dry_run) {
    Json json = {{"generated", job ? job->what : Json(a.input)},
                 {"real", a.against.empty() ? Json() : Json(a.against)},
                 {"network", a.network.to_json()},
                 {"device", a.common.device},
                 {"dtype", a.common.dtype},
                 {"metrics", a.metrics.list.empty() ? "default" : a.metrics.list}};
    if (job) json["plan"] = plan_to_json(job->plan);
    return print_json(json);
  }
  if (job) check_fits(a, *job);
  for (const std::string& file : {a.out, a.nearest, a.class_plot})
    if (!file.empty()) check_writable(file, false);
  if (!a.samples.empty()) check_writable(a.samples, true);

  // What the inputs allow.
  const bool reference = !a.against.empty();
  const InputKind kind = of_model ? InputKind::kPictures : input_kind(a.input);
  const InputKind real_kind = reference ? input_kind(a.against) : InputKind::kPictures;
  const bool full = reference && kind != InputKind::kStatistics && real_kind != InputKind::kStatistics;
  EvaluationOptions measures = a.metrics.options(reference, full, false);
  if (kind == InputKind::kStatistics || kind == InputKind::kFeatures)
    measures.inception_score = measures.inception_score && a.metrics.asks("is");
  if (!a.class_plot.empty()) measures.by_class = true;
  EvaluationOptions needed = measures;  // of features
  if (!a.nearest.empty()) {
    check_usage(full && real_kind != InputKind::kFeatures && kind != InputKind::kFeatures,
                "--nearest shows pictures: statistics and features hold none");
    needed.precision_recall = true;
  }
  if (a.metrics.list.empty()) needed.kernel.subset_size = 2;  // a set too small for KID goes without
  if (job) check_enough(job->dir.string(), job->wanted.size(), needed);

  catch_interrupts();
  WorkFolder work(a.work, a.out);
  const bool looks = kind == InputKind::kPictures || kind == InputKind::kStatisticsAndPictures ||
                     (reference && real_kind != InputKind::kStatistics && real_kind != InputKind::kFeatures);
  const auto network = looks ? a.network.load(a.common) : nullptr;
  const auto stop_unless = [&](const LookedAt& looked, const std::string& what) {
    check(looked.complete, "stopped after ", looked.done, " of ", looked.of, " ", what,
          work.kept() ? concat("; the same command goes on from there (", work.path(), ")") : std::string());
  };
  std::optional<LookedAt> real;
  if (reference) {
    EvaluationOptions of_real = needed;
    of_real.inception_score = false;
    PictureOptions all = a.pictures.options;
    all.count = 0;
    real = look_at(a.against, network.get(), of_real, all, pass_for(needed, true, a.network.batch, work.inside("real")),
                   "looking at real pictures");
    stop_unless(*real, "real pictures");
  }
  std::vector<Image> shown;
  LookedAt generated =
      job ? look_at_model(a, *job, *network, pass_for(needed, false, a.network.batch, work.inside("generated")), shown)
          : look_at(a.input, network.get(), needed, a.pictures.options,
                    pass_for(needed, false, a.network.batch, work.inside("generated")), "looking at pictures");
  // Measures that a network does not serve are left out, unless they were asked for.
  if (a.metrics.list.empty()) {
    measures.inception_score = measures.inception_score && generated.set.logits.defined();
    measures.sfid = reference && real->set.statistics && real->set.statistics->spatial && generated.set.statistics &&
                    generated.set.statistics->spatial;
  }
  const bool no_kid = a.metrics.list.empty() && measures.kid &&
                      std::min(real->set.pool.count(), generated.set.pool.count()) < measures.kernel.subset_size;
  if (no_kid) measures.kid = false;
  EvaluationReport report = evaluate(real ? &real->set : nullptr, generated.set, measures);
  report.version = CRESCENDO_VERSION;
  report.protocol = a.protocol.empty() ? a.network.protocol() : a.protocol;
  report.settings["device"] = a.common.device;
  report.settings["batch"] = a.network.batch;
  report.settings["side"] = a.pictures.options.side;
  if (job) report.settings["model"] = job->what;
  if (!generated.set.labels.empty()) report.settings["sorted_by_class"] = sorted_by_class(generated.set.labels);
  if (generated.source && generated.source->lossy())
    report.warn("generated pictures are in a lossy format, which moves FID");
  if (no_kid)
    report.warn(concat("KID is left out: its subsets have ", measures.kernel.subset_size,
                       " pictures; smaller ones can be asked for"));
  if (!generated.complete)
    report.warn(concat("stopped: these are the numbers of ", generated.done, " of ", generated.of, " pictures"));
  if (!a.nearest.empty()) {
    if (generated.source)
      for (int64_t i = 0; i < std::min(kShownRows, generated.done); ++i) shown.push_back(generated.source->get(i));
    write_nearest(a, *real, generated, shown);
  }
  if (!a.class_plot.empty())
    write_class_plot(a, report, real->source ? real->source->classes() : std::vector<std::string>());
  print_report(report, a.common, a.out);
  stop_unless(generated, "pictures");
  work.finished();
}

}  // namespace

void add_evaluate_images(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "images", "Score pictures, or a model that draws them: FID, sFID, Inception Score, KID, precision and recall");
  const auto a = std::make_shared<Arguments>();
  const std::string what = "What", output = "Output", drawn = "Pictures of a model";
  CLI::Option* input = command->add_option(
      "input", a->input,
      "folder of pictures, .npz with arr_0, shapes:..., statistics (.npz) or features (.npy); or none, with "
      "--model");
  input->type_name("INPUT")->group(what);
  command
      ->add_option("--against", a->against,
                   "real pictures or their statistics, in any of these forms; ADM's VIRTUAL_*.npz has both")
      ->type_name("REF")
      ->group(what);
  a->pictures.add(*command);
  command->get_option("--count")->description("the first so many pictures of INPUT; 0: all");
  command->add_option("--model", a->model, "model directory or name that draws the pictures")->group(drawn);
  add_number(*command, "--num-images", a->count, "how many it draws; for text models as many as prompts by default", 0)
      ->group(drawn);
  command->add_option("--labels", a->labels, "balanced: the classes take turns; or random")
      ->capture_default_str()
      ->group(drawn);
  command->add_option("--prompts", a->prompts, "text models: one a line, or JSON lines {\"prompt\": ...}")
      ->type_name("FILE")
      ->group(drawn);
  add_number(*command, "--seed", a->seed, "picture i takes seed + i")->capture_default_str()->group(drawn);
  command->add_option("--model-dtype", a->model_dtype, "fp32 or bf16, for drawing; --dtype is the network's")
      ->capture_default_str()
      ->group(drawn);
  command->add_option("--samples", a->samples, "also write the pictures, NNNNNN.png")->type_name("DIR")->group(drawn);
  a->text_encoder.add(*command)->group(drawn);
  a->metrics.add(*command);
  a->network.add(*command);
  command->add_option("--out", a->out, "the report, with all that the numbers depend on")
      ->type_name("FILE.json")
      ->group(output);
  command
      ->add_option("--protocol", a->protocol, "its name in the report, e.g. imagenet-256 (default: network and preset)")
      ->type_name("NAME")
      ->group(output);
  command
      ->add_option("--work", a->work,
                   "where features are kept while it runs; a run that was stopped goes on from there (default: beside "
                   "--out, removed at the end; without that a temporary one)")
      ->type_name("DIR")
      ->group(output);
  command->add_option("--nearest", a->nearest, "generated pictures, each beside the real ones nearest to it")
      ->type_name("FILE.png")
      ->group(output);
  command->add_option("--class-plot", a->class_plot, "precision and recall of each class")
      ->type_name("FILE.svg")
      ->group(output);
  a->sampler.add(*command);
  a->common.add(*command);
  for (CLI::Option* option : command->get_options())
    if (option->get_group() == drawn || option->get_group().starts_with("Sampler") ||
        option->get_group() == "Precision")
      option->excludes(input);
  add_examples(*command,
               {"evaluate images samples/ --against VIRTUAL_imagenet256_labeled.npz --weights pt_inception.pth",
                "evaluate images --model far-l --num-images 50000 --against stats.npz --weights pt_inception.pth --out "
                "far-l.json"});
  command->callback([a] { run(*a); });
}

}  // namespace crescendo
