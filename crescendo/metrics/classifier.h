// A small convolutional classifier: pictures (B, 3, side, side) in [-1, 1] -> features and class scores. The program
// trains it by itself (train/classifier_training.h), so pictures can be measured where no network is at hand.
//
// A convolution of 5 x 5, then stages of two of 3 x 3, each stage at half the side of the one before; group norm and
// ReLU behind every convolution. The features are means over the cells of a coarse grid, so that they know roughly
// where something is; the classes are told from the mean over the whole picture.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/core/fields.h"
#include "crescendo/metrics/features.h"
#include "crescendo/nn/layers.h"

namespace crescendo {

struct ClassifierConfig {
  int64_t side = 64;
  std::vector<int64_t> widths = {16, 32, 64};
  int64_t norm_groups = 8;
  int64_t grid = 2;
  int64_t classes = 0;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("side", s.side, "side of the pictures in pixels; others are cropped to it");
    v("widths", s.widths, "channels of each stage, at 1/2, 1/4, ... of the side");
    v("norm_groups", s.norm_groups, "groups of the group norm; divides the widths");
    v("grid", s.grid, "features are means over grid x grid cells");
    v("classes", s.classes, "classes");
  }
  void validate() const;
  int64_t features() const { return widths.back() * grid * grid; }
};

class Classifier {
 public:
  static std::unique_ptr<Classifier> random(const ClassifierConfig& config, uint64_t seed);
  // Throws with names where the tensors do not fit.
  static std::unique_ptr<Classifier> from(const ClassifierConfig& config, TensorMap weights,
                                          const std::string& source_name);

  // x (B, 3, side, side) in [-1, 1] -> pool (B, features()) and logits (B, classes).
  Features operator()(const Tensor& x) const;

  const ClassifierConfig& config() const { return config_; }
  Params& params() { return params_; }
  const Params& params() const { return params_; }

 private:
  struct Layer {
    Layer(const Scope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride);
    Tensor operator()(const Tensor& x, int64_t groups) const;
    Tensor weight;                  // (out, in, kernel, kernel)
    Tensor norm_weight, norm_bias;  // (out)
    int64_t stride;
  };
  Classifier(const ClassifierConfig& config, Params params);
  ClassifierConfig config_;
  Params params_;
  std::vector<Layer> layers_;  // the first; then two a stage
  Linear head_;
};

// A classifier as metrics use it: loaded from its folder, without gradients.
class ClassifierFeatures final : public FeatureExtractor {
 public:
  // `name` and `weights_hash`, the SHA-256 of the weights' file, make its identity.
  ClassifierFeatures(std::string name, std::shared_ptr<const Classifier> classifier, std::vector<std::string> labels,
                     std::string weights_hash, at::Device device = at::kCPU);
  // From DIR/config.json, labels.txt and model.safetensors; the folder's name is its name.
  static std::shared_ptr<const ClassifierFeatures> load(const std::filesystem::path& directory,
                                                        at::Device device = at::kCPU);

  // Cropped to the classifier's side where it is larger or smaller.
  Tensor prepare(const Image& image) const override;
  Features operator()(const Tensor& prepared) const override;
  Json identity() const override;

  const std::string& name() const { return name_; }
  const std::vector<std::string>& labels() const { return labels_; }
  const ClassifierConfig& config() const { return classifier_->config(); }

 private:
  std::string name_;
  std::shared_ptr<const Classifier> classifier_;
  std::vector<std::string> labels_;
  std::string weights_hash_;
  at::Device device_;
};

// Writes the folder that load() reads. `training` is kept in config.json as it is.
void save_classifier(const std::filesystem::path& directory, const Classifier& classifier,
                     const std::vector<std::string>& labels, const Json& training);

}  // namespace crescendo
