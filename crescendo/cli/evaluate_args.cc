#include "crescendo/cli/evaluate_args.h"

#include <ATen/ATen.h>
#include <stdlib.h>  // mkdtemp

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "crescendo/core/file.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/core/number.h"
#include "crescendo/io/npz.h"
#include "crescendo/metrics/inception.h"
#include "crescendo/metrics/torchscript_extractor.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr std::array<std::string_view, 8> kMetrics = {"fid", "sfid",    "is",       "kid",
                                                      "prc", "classes", "interval", "infinity"};

// "0.5,0.5,0.5": a number for each of red, green and blue.
std::vector<double> three_numbers(const std::string& text, const std::string& option) {
  std::vector<double> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const auto number = parse_number<double>(text.substr(begin, end - begin));
    check_usage(number.has_value(), option, " takes three numbers with commas between them, got '", text, "'");
    out.push_back(*number);
    begin = end + 1;
  }
  check_usage(out.size() == 3, option, " takes three numbers with commas between them, got '", text, "'");
  return out;
}

std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    names.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

const char* inception_variable() {
  const char* value = std::getenv("CRESCENDO_INCEPTION");
  return value && *value ? value : nullptr;
}

}  // namespace

void NetworkArgs::add(CLI::App& command) {
  const std::string group = "Network";
  CLI::Option* file =
      command
          .add_option("--weights", weights,
                      "FID's Inception: pt_inception-2015-12-05-6726825d.pth as pytorch-fid and torch-fidelity "
                      "fetch it, or the same as safetensors (default: $CRESCENDO_INCEPTION)")
          ->type_name("FILE")
          ->group(group);
  command
      .add_option(
          "--inception-preset", preset,
          "how pictures come to 299 x 299: tf (ADM, torch-fidelity, MAR, FAR), pytorch-fid or clean; numbers of "
          "different presets do not compare")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--extractor", extractor,
                  "another network, as TorchScript: (B, 3, side, side) -> features, or (features, class scores)")
      ->type_name("FILE.ts")
      ->excludes(file)
      ->group(group);
  add_number(command, "--extractor-side", side, "side of its input, pixels", 1, 4096)
      ->capture_default_str()
      ->group(group);
  command.add_option("--extractor-filter", filter, "how pictures are resized to it: " + enum_choices<Resampling>())
      ->capture_default_str()
      ->group(group);
  command.add_option("--extractor-mean", mean, "what is taken off red, green and blue in 0..1")
      ->type_name("R,G,B")
      ->capture_default_str()
      ->group(group);
  command.add_option("--extractor-std", std, "what they are then divided by")
      ->type_name("R,G,B")
      ->capture_default_str()
      ->group(group);
  add_number(command, "--batch", batch, "pictures at a time; changes speed, and features by rounding at most", 1)
      ->capture_default_str()
      ->group(group);
}

void NetworkArgs::check_values() const {
  parse_enum<InceptionPreset>(preset, "--inception-preset");
  parse_enum<Resampling>(filter, "--extractor-filter");
  three_numbers(mean, "--extractor-mean");
  for (const double s : three_numbers(std, "--extractor-std"))
    check_usage(s > 0, "--extractor-std must be above 0, got '", std, "'");
}

std::unique_ptr<FeatureExtractor> NetworkArgs::load(const CommonOptions& common) const {
  check_values();
  if (!extractor.empty()) {
    check_usage(common.parsed_dtype() == at::kFloat,
                "--dtype: a TorchScript network computes as its file says; leave fp32");
    TorchScriptOptions options;
    options.side = side;
    options.filter = parse_enum<Resampling>(filter, "--extractor-filter");
    options.mean = three_numbers(mean, "--extractor-mean");
    options.std = three_numbers(std, "--extractor-std");
    return std::make_unique<TorchScriptExtractor>(extractor, options, common.parsed_device());
  }
  const std::string file = !weights.empty() ? weights : inception_variable() ? inception_variable() : "";
  check_usage(!file.empty(),
              "which network? --weights names FID's Inception, pt_inception-2015-12-05-6726825d.pth, which is not in "
              "the box: pytorch-fid and torch-fidelity fetch it on their first use; or --extractor names a TorchScript "
              "file");
  InceptionOptions options;
  options.preset = parse_enum<InceptionPreset>(preset, "--inception-preset");
  options.dtype = common.parsed_dtype();
  options.device = common.parsed_device();
  if (options.dtype != at::kFloat)
    log_warning("features in bf16 differ by some 3 %: numbers to report are taken with --dtype fp32");
  return std::make_unique<Inception>(file, options);
}

std::string NetworkArgs::protocol() const { return extractor.empty() ? "inception-" + preset : "torchscript"; }

Json NetworkArgs::to_json() const {
  if (!extractor.empty())
    return {{"extractor", extractor}, {"side", side}, {"filter", filter}, {"mean", mean}, {"std", std}};
  return {{"weights", weights.empty() && inception_variable() ? inception_variable() : weights}, {"preset", preset}};
}

void MetricsArgs::add(CLI::App& command) {
  const std::string group = "Measures";
  command
      .add_option("--metrics", list,
                  "of fid, sfid, is, kid, prc (precision, recall, density, coverage), classes (prc of each class), "
                  "interval and infinity (of FID), with commas (default: what the inputs allow of fid, sfid, is, kid, "
                  "prc)")
      ->type_name("NAME,...")
      ->group(group);
  command
      .add_option("--pr-distance", pr_distance,
                  "fp32, or adm-fp16: as ADM's evaluator rounds, which raises recall by some 0.003")
      ->capture_default_str()
      ->group(group);
  add_number(command, "--neighbours", neighbours, "k of precision and recall", 1, 1000)
      ->capture_default_str()
      ->group(group);
  add_number(command, "--kid-subsets", kid_subsets, "subsets of KID", 1, 100'000)->capture_default_str()->group(group);
  add_number(command, "--kid-subset-size", kid_subset_size, "pictures of each subset; at most as many as there are", 2,
             1'000'000)
      ->capture_default_str()
      ->group(group);
}

bool MetricsArgs::asks(const std::string& name) const {
  const auto names = names_in(list);
  return !list.empty() && std::find(names.begin(), names.end(), name) != names.end();
}

EvaluationOptions MetricsArgs::options(bool reference, bool full, bool spatial) const {
  EvaluationOptions o;
  o.neighbours.k = neighbours;
  o.neighbours.distance = parse_enum<NeighbourDistance>(pr_distance, "--pr-distance");
  o.kernel.subsets = kid_subsets;
  o.kernel.subset_size = kid_subset_size;
  o.fid = reference;
  o.sfid = spatial;
  o.kid = o.precision_recall = full;
  if (list.empty()) return o;
  for (const std::string& name : names_in(list))
    check_usage(std::find(kMetrics.begin(), kMetrics.end(), name) != kMetrics.end(), "--metrics knows ", join(kMetrics),
                ", got '", name, "'");
  o.fid = asks("fid");
  o.sfid = asks("sfid");
  o.inception_score = asks("is");
  o.kid = asks("kid");
  o.precision_recall = asks("prc");
  o.by_class = asks("classes");
  o.interval = asks("interval");
  o.infinity = asks("infinity");
  if (!reference)
    for (const std::string& name : names_in(list))
      check_usage(name == "is", "--metrics ", name, " compares with real pictures; name them or their statistics");
  return o;
}

void PictureArgs::add(CLI::App& command) {
  const std::string group = "Pictures";
  add_number(command, "--skip-bad", options.skip_bad, "so many unreadable pictures are left out and named", 0)
      ->capture_default_str()
      ->group(group);
  add_number(command, "--side", options.side, "ADM's centre crop to squares of so many pixels; 0: as they are", 0, 8192)
      ->capture_default_str()
      ->group(group);
  add_number(command, "--count", options.count, "the first so many pictures; 0: all", 0)
      ->capture_default_str()
      ->group(group);
}

WorkFolder::WorkFolder(const std::string& given, const std::string& out) {
  named_ = !given.empty();
  if (!given.empty() || !out.empty()) {
    path_ = given.empty() ? out + ".work" : given;
    return;
  }
  std::string name = (fs::temp_directory_path() / "crescendo-features-XXXXXX").string();
  check(::mkdtemp(name.data()) != nullptr, "cannot make a folder like ", name, " for features; name one with --work");
  path_ = name;
  temporary_ = true;
}

WorkFolder::~WorkFolder() {
  std::error_code ignored;
  if (temporary_) fs::remove_all(path_, ignored);
}

void WorkFolder::finished() {
  std::error_code ignored;
  if (!named_) fs::remove_all(path_, ignored);
}

InputKind input_kind(const std::string& spec) {
  const std::string extension = fs::path(spec).extension().string();
  if (extension == ".npz" && fs::is_regular_file(spec)) {
    const NpzReader npz = NpzReader::open(spec);
    const bool statistics = npz.contains("mu"), pictures = npz.contains("arr_0");
    check(statistics || pictures, spec, ": holds neither statistics (mu, sigma) nor pictures (arr_0)");
    return !statistics ? InputKind::kPictures : pictures ? InputKind::kStatisticsAndPictures : InputKind::kStatistics;
  }
  if (extension == ".npy" && fs::is_regular_file(spec))
    return parse_npy_header(map_bytes(spec)).shape.size() == 2 ? InputKind::kFeatures : InputKind::kPictures;
  return InputKind::kPictures;
}

FeatureSet read_feature_set(const std::string& file) {
  FeatureSet set;
  set.name = file;
  switch (input_kind(file)) {
    case InputKind::kStatistics:
    case InputKind::kStatisticsAndPictures:
      set.statistics = read_statistics(file);
      return set;
    case InputKind::kFeatures:
      set.pool = FeatureMatrix::open(file);
      return set;
    case InputKind::kPictures:
      break;
  }
  usage_error(file, ": is neither statistics (.npz with mu and sigma) nor features (.npy of two axes); ",
              "make statistics of pictures with evaluate stats, or use evaluate images");
}

void check_enough(const std::string& name, int64_t count, const EvaluationOptions& measures) {
  const auto need = [&](bool asked, const char* what, int64_t least) {
    check_usage(!asked || count >= least, what, " needs at least ", least, " pictures, ", name, " has ", count);
  };
  need(measures.fid || measures.sfid, "FID", 2);
  need(measures.precision_recall, "prc", measures.neighbours.k + 1);
  need(measures.kid, "KID", measures.kernel.subset_size);
  need(measures.inception_score, "the Inception Score", measures.splits);
}

FeaturePassOptions pass_for(const EvaluationOptions& m, bool reference, int64_t batch, const fs::path& folder) {
  FeaturePassOptions pass;
  pass.batch = batch;
  pass.keep_features = m.precision_recall || m.by_class || m.kid || (!reference && (m.interval || m.infinity));
  pass.keep_logits = !reference && m.inception_score;
  pass.folder = folder;
  return pass;
}

LookedAt look_at(const std::string& spec, const FeatureExtractor* network, const EvaluationOptions& measures,
                 const PictureOptions& pictures, const FeaturePassOptions& pass, const std::string& title) {
  LookedAt out;
  out.set.name = spec;
  const InputKind kind = input_kind(spec);
  if (kind == InputKind::kFeatures || kind == InputKind::kStatistics) {
    out.set = read_feature_set(spec);
    return out;
  }
  if (kind == InputKind::kStatisticsAndPictures) {
    out.set.statistics = read_statistics(spec);
    if (!pass.keep_features && !pass.keep_logits) return out;
  }
  check(network != nullptr, spec, ": its pictures are looked at through a network, and none is there");
  out.source = open_pictures(spec, pictures);
  check_enough(spec, out.source->size(), measures);
  if (out.source->lossy())
    log_warning(spec +
                ": holds JPEG or other lossy files, which move FID; numbers to report are taken from PNG or .npz");
  PictureFeatures found = feature_pass(feed_of(*out.source, spec), *network, pass, title);
  out.complete = found.complete();
  out.done = found.done;
  out.of = found.of;
  if (!out.set.statistics) {
    out.set.statistics = std::move(found.statistics);
    out.set.statistics->name = spec;
    out.set.statistics->version = CRESCENDO_VERSION;
  }
  out.set.pool = std::move(found.features);
  out.set.logits = std::move(found.logits);
  if (out.source->has_labels())
    for (int64_t i = 0; i < found.done; ++i) out.set.labels.push_back(out.source->label(i));
  return out;
}

void print_report(const EvaluationReport& report, const CommonOptions& common, const std::string& out) {
  if (!out.empty()) write_json(out, report.to_json());
  if (common.json) return print_json(report.to_json());
  std::cout << report.table();
}

}  // namespace crescendo
