// Pictures -> report, whatever the measure and whoever drew them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct Score {
  std::string what;  // was judged: "120 images of 20 prompts"
  Json json;
  std::string line{};            // the report in short, for a log
  std::string table{};           // the report in lines, for a reader
  std::vector<Json> pictures{};  // of each picture, where each is judged by itself
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  // A scorer that knows what each picture was to show takes them in that order.
  virtual Score score(const std::vector<Image>& images) const = 0;
};

// Several scorers' reports as one: keys and lines one behind the other.
class JointScorer : public Scorer {
 public:
  explicit JointScorer(std::vector<std::unique_ptr<const Scorer>> scorers) : scorers_(std::move(scorers)) {}
  Score score(const std::vector<Image>& images) const override;

 private:
  std::vector<std::unique_ptr<const Scorer>> scorers_;
};

// A line of a table: a number of the pictures judged, and the same of real ones where it is known.
std::string measure_line(const std::string& name, double value, std::optional<double> of_real, int digits);

}  // namespace crescendo
