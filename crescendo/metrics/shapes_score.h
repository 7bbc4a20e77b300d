// Samples of the shapes classes -> how many show what was asked for, and how widely they spread.
#pragma once

#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct ShapesScore {
  int64_t images = 0;
  int64_t found = 0;   // an object was detected at all
  int64_t colour = 0;  // its colour is the class's
  int64_t shape = 0;   // its shape is the class's
  int64_t both = 0;
  double centre_spread = 0;  // standard deviation of the centres over the data's
  double size_spread = 0;    // the same for radii

  // Share of `count` in `images` with its 95 % interval (Wilson): {"share", "low", "high"}.
  static Json share(int64_t count, int64_t images);
  Json to_json() const;
};

// `labels` are class ids of the shapes data set, one per image.
ShapesScore score_shapes(const std::vector<Image>& images, const std::vector<int64_t>& labels);

}  // namespace crescendo
