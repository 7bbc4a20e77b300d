#include "crescendo/metrics/model_scorer.h"

#include "crescendo/metrics/seams.h"
#include "crescendo/metrics/shapes_score.h"

namespace crescendo {

std::unique_ptr<const Scorer> model_scorer(const ModelScoring& s) {
  std::vector<std::unique_ptr<const Scorer>> scorers;
  if (s.class_names == shapes_class_names()) scorers.push_back(std::make_unique<ShapesScorer>(s.labels));
  if (has_seams(s.token_side, s.side)) {
    SeamMeter real(s.token_side);
    each_picture(*s.real, some_pictures(*s.real, s.real_images), [&](const Image& image) { real.add(image); });
    scorers.push_back(std::make_unique<SeamScorer>(s.token_side, real.result()));
  }
  const bool same_classes = s.classifier->labels() == s.class_names;
  scorers.push_back(std::make_unique<QualityScorer>(s.classifier, *s.real, s.real_images, s.images,
                                                    same_classes ? s.labels : std::vector<int64_t>()));
  return std::make_unique<JointScorer>(std::move(scorers));
}

}  // namespace crescendo
