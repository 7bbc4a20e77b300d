// How near pictures come to real ones, seen through a classifier of the program's own (classifier.h): Frechet distance,
// precision, recall, and how clearly and evenly classes show.
//
// The distance is the formula of FID on other features. It is called FD with the classifier's name, and compares with
// no FID: only with the same classifier's, on as many pictures of the same data. Beside each number stands what as many
// other real pictures have: all that can be asked for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"
#include "crescendo/metrics/feature_matrix.h"
#include "crescendo/metrics/features.h"
#include "crescendo/metrics/scorer.h"

namespace crescendo {

struct SetFeatures {
  FeatureMatrix pool, logits;
};
// Of all pictures, in their order.
SetFeatures features_of(const FeatureExtractor& extractor, const std::vector<Image>& images);
// Of some pictures of a set, of which memory holds a few at a time.
SetFeatures features_of(const FeatureExtractor& extractor, const Dataset& set, const std::vector<int64_t>& indices);

struct PictureQuality {
  double frechet = 0;
  double precision = 0, recall = 0;
  double class_score = 0;  // exp of the mean KL(classes of a picture || classes of all), as Inception Score
  std::optional<double> asked_class{};  // share of pictures whose class is the one that was asked for
  std::string warning{};                // of the Frechet distance
  Json to_json() const;
};
// `labels`: the class that each picture of `judged` was to show; empty where none was asked for.
PictureQuality picture_quality(const SetFeatures& real, const SetFeatures& judged, const std::vector<int64_t>& labels);

// {"quality": {"features", "real_images", "fd", ..., "of_real": {...}}}. Needs more than three pictures.
class QualityScorer : public Scorer {
 public:
  // Of `real` so many pictures are the reference, or all. Where it has still as many others as pictures will be judged,
  // `judged`, those are measured, too. `labels` as in picture_quality(), numbered as the extractor numbers its classes.
  QualityScorer(std::shared_ptr<const FeatureExtractor> extractor, const Dataset& real, int64_t reference,
                int64_t judged, std::vector<int64_t> labels = {});
  Score score(const std::vector<Image>& images) const override;

 private:
  std::shared_ptr<const FeatureExtractor> extractor_;
  SetFeatures real_;
  std::optional<PictureQuality> of_real_;
  std::vector<int64_t> labels_;
};

// Numbers of `count` pictures of a set, or of all, as many of each class as it has them: one of each class, then a
// second one, and so on, drawn within the class. `skip` passes over the first.
std::vector<int64_t> some_pictures(const Dataset& set, int64_t count, int64_t skip = 0);
// Reads a few pictures at a time.
void each_picture(const Dataset& set, const std::vector<int64_t>& indices,
                  const std::function<void(const Image&)>& use);

}  // namespace crescendo
