// Training of the small classifier of metrics/classifier.h: pictures in classes -> a classifier's folder.
//
// Images are blurred and made noisy a little, so that a class is still told where a picture is a little off, and the
// features that measure such damage move with it rather than jump.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/core/fields.h"
#include "crescendo/metrics/classifier.h"
#include "crescendo/train/adamw.h"
#include "crescendo/train/lr.h"
#include "crescendo/train/training_images.h"

namespace crescendo {

struct ClassifierTrainingOptions {
  ClassifierConfig classifier;
  int64_t images = 200'000;
  int64_t batch = 64;
  double lr = 3e-3;
  LrOptions lr_schedule = {.shape = LrShape::kCosine, .warmup_images = 6'400, .end = 0.01};
  AdamWOptions adamw = {.weight_decay = 0.05};
  double grad_clip = 1.0;
  bool flip = false;
  double blur = 0.5;
  double noise = 0.04;
  int64_t held_out = 4000;
  int64_t log_images = 6400;
  int64_t seed = 0;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("classifier", s.classifier, "sizes of the classifier");
    v("images", s.images, "images to train on, counted with repetition");
    v("batch", s.batch, "images per step");
    v("lr", s.lr, "peak learning rate of AdamW");
    v("lr_schedule", s.lr_schedule, "how the learning rate runs");
    v("adamw", s.adamw, "AdamW");
    v("grad_clip", s.grad_clip, "largest norm of the gradient; 0: no limit");
    v("flip", s.flip, "mirror half of the images");
    v("blur", s.blur, "images are blurred by up to this many pixels, 0 to 0.5");
    v("noise", s.noise, "noise of a standard deviation up to this is added; from black to white is 2");
    v("held_out", s.held_out, "images kept aside to measure the accuracy");
    v("log_images", s.log_images, "images between two lines of the log");
    v("seed", s.seed, "seed of weights, order and noise");
  }
  void validate() const;
};

struct ClassifierQuality {
  double accuracy = 0;  // share of the images whose class has the highest score
  double loss = 0;      // mean cross-entropy, nats
};
// Over the images first..last-1, as they are.
ClassifierQuality classifier_quality(const Classifier& classifier, const TrainingImages& images, int64_t first,
                                     int64_t last);

struct ClassifierTrainingResult {
  int64_t images = 0;
  bool finished = false;  // false: stopped early
  double seconds = 0;
  ClassifierQuality held_out;

  Json to_json() const;
};

// Trains in place on a set whose classes are `labels`. The last `held_out` images are never trained on. Writes
// DIR/log.jsonl as it goes and the classifier's folder DIR at the end, also where `stop`, looked at between steps,
// ended it. `about` goes into its config.json beside the result.
ClassifierTrainingResult train_classifier(Classifier& classifier, const TrainingImages& images,
                                          const std::vector<std::string>& labels,
                                          const ClassifierTrainingOptions& options,
                                          const std::filesystem::path& directory, const Json& about = Json::object(),
                                          const std::function<bool()>& stop = {});

}  // namespace crescendo
