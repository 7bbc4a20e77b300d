// An exact detector for Shapes: picture -> objects, by analysis with the renderer itself.
//
// Each pixel is explained as a mixture of the ground and one palette colour; what is more than half a colour is grouped
// into connected components. A component is compared with every figure, rendered at the component's centre and area and
// at several rotations: the best overlap (intersection over union of coverages) names the figure and is the score. So
// the detector needs no training, is right on every rendered picture, and degrades gently on others.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "crescendo/data/shapes.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct Detection {
  SceneObject object;                     // figure, colour, centre, radius and rotation of the best template
  double score = 0;                       // intersection over union with that template
  double area = 0;                        // pixels
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // bounding box, pixels
};

// All objects, the best score first.
std::vector<Detection> detect(const Image& image);

// A class-conditional sample is judged by its largest object.
struct SingleScore {
  bool found = false;
  bool colour = false;
  bool figure = false;
  bool both() const { return colour && figure; }
};
SingleScore score_single(std::span<const Detection> detections, int64_t class_id);

// How widely objects spread: a model that always draws in the middle has right colours and figures but small numbers.
struct Spread {
  int64_t count = 0;
  double cx_std = 0, cy_std = 0, radius_std = 0;  // pixels
};
Spread measure_spread(std::span<const SceneObject> objects);
// The same for the first `count` pictures of the data.
Spread singles_spread(uint64_t seed, int64_t count, int64_t side = kShapesSide);
// Spread of places and of sizes as shares of the data's; 1 is right.
struct SpreadRatio {
  double centre = 0, radius = 0;
};
SpreadRatio spread_ratio(const Spread& samples, const Spread& data);

}  // namespace crescendo
