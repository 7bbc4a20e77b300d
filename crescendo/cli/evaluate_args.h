// What the commands that look at pictures through a network share: which network, which measures, where the work lies.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/cli/args.h"
#include "crescendo/data/picture_source.h"
#include "crescendo/metrics/evaluation.h"
#include "crescendo/metrics/feature_pass.h"
#include "crescendo/metrics/features.h"

namespace crescendo {

struct NetworkArgs {
  std::string weights;    // Inception's; else $CRESCENDO_INCEPTION
  std::string extractor;  // or a TorchScript file
  std::string preset = "tf";
  int64_t side = 224;  // of the TorchScript network's input
  std::string filter = "bicubic";
  std::string mean = "0.485,0.456,0.406", std = "0.229,0.224,0.225";
  int64_t batch = 32;

  void add(CLI::App& command);
  void check_values() const;  // before any work
  std::unique_ptr<FeatureExtractor> load(const CommonOptions& common) const;
  std::string protocol() const;  // "inception-tf"
  Json to_json() const;          // for --dry-run
};

// Names in --metrics.
struct MetricsArgs {
  std::string list;  // empty: what the inputs allow
  std::string pr_distance = "fp32";
  int64_t neighbours = 3;
  int64_t kid_subsets = 100, kid_subset_size = 1000;

  void add(CLI::App& command);
  bool asks(const std::string& name) const;  // that it was named
  // `full`: the other side has pictures or features, and not statistics alone; `reference`: there is one.
  EvaluationOptions options(bool reference, bool full, bool spatial) const;
};

// Pictures to look at: --skip-bad, --side, ...
struct PictureArgs {
  PictureOptions options;
  void add(CLI::App& command);
};

// Where features of a run are kept: a folder that is named or stands beside the result, from which a later run goes on;
// or, for neither, one in the system's place for temporary files.
class WorkFolder {
 public:
  WorkFolder(const std::string& given, const std::string& out);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  std::filesystem::path inside(const std::string& name) const { return path_ / name; }
  bool kept() const { return !temporary_; }
  std::string path() const { return path_.string(); }
  void finished();  // the result is written: what was not asked to stay goes

 private:
  std::filesystem::path path_;
  bool temporary_ = false, named_ = false;
};

// What an input of a comparison may be.
enum class InputKind { kPictures, kStatistics, kStatisticsAndPictures, kFeatures };
InputKind input_kind(const std::string& spec);
// Statistics or features of a file, which need no network.
FeatureSet read_feature_set(const std::string& file);

// A set that was looked at, and what is needed of its pictures later.
struct LookedAt {
  FeatureSet set;
  std::unique_ptr<PictureSource> source;  // where pictures were read
  bool complete = true;
  int64_t done = 0, of = 0;
};
// Reads statistics, or looks at the pictures through `network`, as the measures need.
LookedAt look_at(const std::string& spec, const FeatureExtractor* network, const EvaluationOptions& measures,
                 const PictureOptions& pictures, const FeaturePassOptions& pass, const std::string& title);
// Throws, before any work, where there are too few pictures for a measure.
void check_enough(const std::string& name, int64_t count, const EvaluationOptions& measures);
// The options of a pass for the measures; `reference`: of the real side, which needs no class scores.
FeaturePassOptions pass_for(const EvaluationOptions& measures, bool reference, int64_t batch,
                            const std::filesystem::path& folder);
// The numbers, in a table or as JSON, and the file of --out.
void print_report(const EvaluationReport& report, const CommonOptions& common, const std::string& out);

}  // namespace crescendo
