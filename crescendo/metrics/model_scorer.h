// All that is measured of pictures that a model of a data set drew: the exact detector where the classes are those of
// shapes, seams, and quality through a classifier.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "crescendo/metrics/classifier.h"
#include "crescendo/metrics/picture_quality.h"

namespace crescendo {

// In the box, for pictures of shapes and scenes.
constexpr const char* kShapesClassifier = "shapes-classifier";

struct ModelScoring {
  std::shared_ptr<const ClassifierFeatures> classifier;
  std::shared_ptr<const Dataset> real;     // pictures of the side that the model draws
  int64_t side = 0;                        // of a picture, pixels
  int64_t token_side = 0;                  // pixels
  int64_t images = 0;                      // that will be judged
  std::vector<std::string> class_names{};  // of the model; empty for text models
  std::vector<int64_t> labels{};           // class models: the class that each picture is to show
  int64_t real_images = 4000;              // to compare with
};

std::unique_ptr<const Scorer> model_scorer(const ModelScoring& scoring);

}  // namespace crescendo
