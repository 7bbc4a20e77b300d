// Samples of the shapes classes -> how many show what was asked for, and how widely they spread.
#pragma once

#include <utility>
#include <vector>

#include "crescendo/metrics/scorer.h"

namespace crescendo {

// A line of a table: a share as ShapesScore::share gives it, and what else there is to say.
std::string share_line(const std::string& name, const Json& share, const std::string& more = "");
// "41.3 %", and "41 %" for a log.
std::string percent(double share);
std::string whole_percent(double share);

// Of an object with its figure's outline. GenEval counts objects from such a score on; rendered ones have 0.95 and
// more.
constexpr double kCleanOverlap = 0.9;

struct ShapesScore {
  int64_t images = 0;
  int64_t found = 0;   // an object was detected at all
  int64_t colour = 0;  // its colour is the class's
  int64_t shape = 0;   // its shape is the class's
  int64_t both = 0;
  int64_t outline = 0;       // what the detector found fits its outline: an overlap of at least kCleanOverlap
  double overlap = 0;        // mean overlap with the outline (intersection over union) of the objects found
  double centre_spread = 0;  // standard deviation of the centres over the data's
  double size_spread = 0;    // the same for radii

  // Share of `count` in `images` with its 95 % interval (Wilson): {"share", "low", "high"}.
  static Json share(int64_t count, int64_t images);
  Json to_json() const;
};

// `labels` are class ids of the shapes data set, one per image.
ShapesScore score_shapes(const std::vector<Image>& images, const std::vector<int64_t>& labels);

class ShapesScorer : public Scorer {
 public:
  // `labels`: the class that each picture was to show.
  explicit ShapesScorer(std::vector<int64_t> labels) : labels_(std::move(labels)) {}
  Score score(const std::vector<Image>& images) const override;

 private:
  std::vector<int64_t> labels_;
};

}  // namespace crescendo
