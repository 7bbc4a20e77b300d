#include "crescendo/metrics/classifier.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/sha256.h"
#include "crescendo/core/utf8.h"
#include "crescendo/image/resize.h"
#include "crescendo/io/safetensors.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "crescendo-classifier-1";
constexpr double kNormEps = 1e-5;

}  // namespace

void ClassifierConfig::validate() const {
  check_usage(!widths.empty() && widths.size() <= 8, "classifier.widths must name 1 to 8 stages, got ", widths.size());
  check_usage(norm_groups >= 1, "classifier.norm_groups must be at least 1, got ", norm_groups);
  for (const int64_t width : widths)
    check_usage(width >= 1 && width <= 4096 && width % norm_groups == 0, "classifier.widths must be multiples of ",
                norm_groups, " (classifier.norm_groups) up to 4096, got ", width);
  check_usage(side >= 8 && side <= 1024, "classifier.side must be in 8..1024, got ", side);
  const int64_t last = side >> widths.size();
  check_usage(grid >= 1 && grid <= last, "classifier.grid must be in 1..", last, ", the side of the last stage, got ",
              grid);
  check_usage(classes >= 2 && classes <= 1'000'000, "classifier.classes must be in 2..1000000, got ", classes);
}

//----------------------------------------------------------------------------
// The network.

Classifier::Layer::Layer(const Scope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride)
    : weight(scope.add("weight", {out, in, kernel, kernel}, Init::kKaimingUniform)),
      norm_weight((scope / "norm").add("weight", {out}, Init::kOnes)),
      norm_bias((scope / "norm").add("bias", {out}, Init::kZeros)),
      stride(stride) {}

Tensor Classifier::Layer::operator()(const Tensor& x, int64_t groups) const {
  const Tensor y = at::conv2d(x, weight, {}, stride, weight.size(2) / 2);
  return at::relu(at::group_norm(y, groups, norm_weight, norm_bias, kNormEps));
}

Classifier::Classifier(const ClassifierConfig& config, Params params) : config_(config), params_(std::move(params)) {
  config.validate();
  const Scope scope(params_);
  layers_.emplace_back(scope / "stem", 3, config.widths[0], 5, 2);
  for (size_t i = 1; i < config.widths.size(); ++i) {
    const Scope stage = scope / "stages" / static_cast<int64_t>(i - 1);
    layers_.emplace_back(stage / "down", config.widths[i - 1], config.widths[i], 3, 2);
    layers_.emplace_back(stage / "same", config.widths[i], config.widths[i], 3, 1);
  }
  head_ = Linear(scope / "head", config.widths.back(), config.classes);
  params_.finish();
}

std::unique_ptr<Classifier> Classifier::random(const ClassifierConfig& config, uint64_t seed) {
  return std::unique_ptr<Classifier>(new Classifier(config, Params::random(seed)));
}

std::unique_ptr<Classifier> Classifier::from(const ClassifierConfig& config, TensorMap weights,
                                             const std::string& source_name) {
  return std::unique_ptr<Classifier>(new Classifier(config, Params::from(std::move(weights), source_name)));
}

Features Classifier::operator()(const Tensor& picture) const {
  Tensor x = layers_[0](picture, config_.norm_groups);  // (B, widths[0], side / 2, side / 2)
  for (size_t i = 1; i < layers_.size(); i += 2) {
    x = layers_[i](x, config_.norm_groups);
    x = x + layers_[i + 1](x, config_.norm_groups);
  }
  Features out;
  out.pool = at::adaptive_avg_pool2d(x, {config_.grid, config_.grid}).flatten(1);  // (B, widths.back() * grid^2)
  out.logits = head_(x.mean({2, 3}));                                              // (B, classes)
  return out;
}

//----------------------------------------------------------------------------
// For metrics.

ClassifierFeatures::ClassifierFeatures(std::string name, std::shared_ptr<const Classifier> classifier,
                                       std::vector<std::string> labels, std::string weights_hash, at::Device device)
    : name_(std::move(name)),
      classifier_(std::move(classifier)),
      labels_(std::move(labels)),
      weights_hash_(std::move(weights_hash)),
      device_(device) {}

Tensor ClassifierFeatures::prepare(const Image& image) const {
  const int64_t side = config().side;
  return image_to_tensor(image.width == side && image.height == side ? image : centre_crop(image, side));
}

Features ClassifierFeatures::operator()(const Tensor& prepared) const {
  const at::NoGradGuard no_grad;
  Features out = (*classifier_)(prepared.to(device_));
  out.pool = out.pool.to(at::kCPU);
  out.logits = out.logits.to(at::kCPU);
  return out;
}

Json ClassifierFeatures::identity() const {
  return {{"network", "classifier"},
          {"name", name_},
          {"weights", weights_hash_},
          {"side", config().side},
          {"dtype", "fp32"}};
}

std::shared_ptr<const ClassifierFeatures> ClassifierFeatures::load(const fs::path& directory, at::Device device) {
  const fs::path config_file = directory / "config.json", weights_file = directory / "model.safetensors";
  const Json json = read_json(config_file);
  check(json.is_object() && json.contains("format") && json["format"] == kFormat && json.contains("classifier"),
        config_file.string(), " has not the format ", kFormat,
        "; `crescendo evaluate train-classifier` makes a classifier");
  ClassifierConfig config;
  try {
    value_from_json(config, json["classifier"], config_file.string() + ": classifier");
    config.validate();
  } catch (const Error& e) {
    fail(e.what());  // a fault of the file, not of the command line
  }
  const std::string text = read_text_file(directory / "labels.txt");
  const auto lines = text_lines(text);
  check(static_cast<int64_t>(lines.size()) == config.classes, (directory / "labels.txt").string(), " has ",
        lines.size(), " lines, the classifier ", config.classes, " classes");
  std::shared_ptr<Classifier> classifier =
      Classifier::from(config, read_safetensors(weights_file).tensors, weights_file.string());
  classifier->params().to(device, at::kFloat);
  fs::path folder = directory.lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return std::make_shared<ClassifierFeatures>(folder.filename().string(), std::move(classifier),
                                              std::vector<std::string>(lines.begin(), lines.end()),
                                              sha256_of_file(weights_file), device);
}

void save_classifier(const fs::path& directory, const Classifier& classifier, const std::vector<std::string>& labels,
                     const Json& training) {
  make_directories(directory);
  TensorMap weights;
  for (const auto& [name, t] : classifier.params().items()) weights[name] = t.detach().to(at::kCPU).contiguous();
  write_safetensors(directory / "model.safetensors", weights, {{"format", kFormat}});
  std::string lines;
  for (const std::string& label : labels) lines += label + "\n";
  write_file_atomically(directory / "labels.txt", lines);
  write_json(directory / "config.json",
             {{"format", kFormat}, {"classifier", value_to_json(classifier.config())}, {"training", training}});
}

}  // namespace crescendo
