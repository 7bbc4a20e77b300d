#include "crescendo/metrics/shapes_score.h"

#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/metrics/shapes_detector.h"

namespace crescendo {

Json ShapesScore::share(int64_t count, int64_t images) {
  const double n = static_cast<double>(images), p = images ? static_cast<double>(count) / n : 0.0;
  constexpr double z = 1.96;
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {{"share", p}, {"low", std::max(0.0, centre - half)}, {"high", std::min(1.0, centre + half)}};
}

Json ShapesScore::to_json() const {
  return {{"images", images},
          {"found", share(found, images)},
          {"colour", share(colour, images)},
          {"shape", share(shape, images)},
          {"both", share(both, images)},
          {"centre_spread", centre_spread},
          {"size_spread", size_spread}};
}

ShapesScore score_shapes(const std::vector<Image>& images, const std::vector<int64_t>& labels) {
  check(images.size() == labels.size() && !images.empty(), "score_shapes: ", images.size(), " images with ",
        labels.size(), " labels");
  ShapesScore score;
  std::vector<SceneObject> objects;
  for (size_t i = 0; i < images.size(); ++i) {
    const auto detections = detect(images[i]);
    const SingleScore s = score_single(detections, labels[i]);
    ++score.images;
    score.found += s.found;
    score.colour += s.colour;
    score.shape += s.figure;
    score.both += s.both();
    if (detections.empty()) continue;
    size_t largest = 0;
    for (size_t k = 1; k < detections.size(); ++k)
      if (detections[k].area > detections[largest].area) largest = k;
    objects.push_back(detections[largest].object);
  }
  constexpr int64_t kDataImages = 4000;
  const SpreadRatio ratio =
      spread_ratio(measure_spread(objects), singles_spread(/*seed=*/0, kDataImages, images.front().width));
  score.centre_spread = ratio.centre;
  score.size_spread = ratio.radius;
  return score;
}

}  // namespace crescendo
