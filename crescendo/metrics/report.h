// Numbers of an evaluation and all that they depend on: a table for people, JSON for machines.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/metrics/precision_recall.h"

namespace crescendo {

struct Measure {
  std::string name;   // key in JSON: "fid"
  std::string title;  // in the table: "FID"
  double value = 0;
  std::string how{};                                    // the protocol in a few words
  std::optional<double> deviation{};                    // of splits or subsets
  std::optional<std::pair<double, double>> interval{};  // low, high
  int digits = 4;                                       // behind the point, in the table
  Json details{};                                       // what else there is for machines
};

struct EvaluationReport {
  std::string version{};            // of the program
  std::string protocol{};           // its name, as docs/evaluation.md calls it
  std::string real{}, generated{};  // what was compared: folders, files
  Json identity{};                  // of the features; null where unknown
  Json counts = Json::object();     // n_real_stats, n_real_pr, n_fake
  Json settings = Json::object();   // seeds, order, labels, quantization, device, guidance: what the numbers depend on
  std::vector<Measure> measures{};
  std::vector<ClassPrecisionRecall> classes{};
  std::vector<std::string> warnings{};

  const Measure* find(std::string_view name) const;
  void add(Measure measure) { measures.push_back(std::move(measure)); }
  void warn(std::string line);  // a line that is there already is not repeated

  Json to_json() const;
  std::string table() const;
  std::string line() const;  // "FID 3.45, IS 282.2", for a log
  // The keys that torch-fidelity prints, for what was measured.
  Json to_fidelity_json() const;
};

}  // namespace crescendo
