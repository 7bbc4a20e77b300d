#include "crescendo/metrics/shapes_score.h"

#include <cmath>
#include <iomanip>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/metrics/shapes_detector.h"

namespace crescendo {

std::string percent(double share) { return concat(std::fixed, std::setprecision(1), 100 * share, " %"); }
std::string whole_percent(double share) { return concat(std::lround(100 * share), " %"); }

std::string share_line(const std::string& name, const Json& share, const std::string& more) {
  const auto of = [&](const char* key) { return 100 * share[key].get<double>(); };
  return concat(std::left, std::setw(14), name, std::right, std::fixed, std::setprecision(1), ' ', std::setw(5),
                of("share"), " %  (95 % interval ", of("low"), " to ", of("high"), ")", more, "\n");
}

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
          {"outline", share(outline, images)},
          {"overlap", overlap},
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
    score.outline += detections[largest].score >= kCleanOverlap;
    score.overlap += detections[largest].score;
  }
  if (!objects.empty()) score.overlap /= static_cast<double>(objects.size());
  constexpr int64_t kDataImages = 4000;
  const SpreadRatio ratio =
      spread_ratio(measure_spread(objects), singles_spread(/*seed=*/0, kDataImages, images.front().width));
  score.centre_spread = ratio.centre;
  score.size_spread = ratio.radius;
  return score;
}

Score ShapesScorer::score(const std::vector<Image>& images) const {
  const ShapesScore s = score_shapes(images, labels_);
  const std::set<int64_t> classes(labels_.begin(), labels_.end());
  Score out{.what = concat(s.images, " images of ", classes.size(), " classes"), .json = s.to_json()};
  const auto share = [&](const char* of) { return whole_percent(out.json[of]["share"].get<double>()); };
  out.line = concat("colour ", share("colour"), ", shape ", share("shape"), ", both ", share("both"), " of ", s.images,
                    " samples; spread of centres ", s.centre_spread, ", of sizes ", s.size_spread);
  for (const char* name : {"found", "colour", "shape", "both", "outline"})
    out.table += share_line(name, out.json[name]);
  out.table += concat(std::fixed, std::setprecision(2), "overlap with the outline ", s.overlap, " on average\n",
                      "spread of centres ", s.centre_spread, " and of sizes ", s.size_spread, " of the data's\n");
  return out;
}

}  // namespace crescendo
