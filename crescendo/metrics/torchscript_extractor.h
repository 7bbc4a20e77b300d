// A network in a TorchScript file as a FeatureExtractor: DINOv2, CLIP, or whatever distances are to be measured in.
//
// The file's forward takes one tensor, (B, 3, side, side) fp32, and returns features (B, D), or a tuple of features and
// class scores (B, K). Features with more axes are flattened. Pictures are resized to the side without keeping their
// proportions, by Pillow's 8-bit arithmetic; each channel becomes (x / 255 - mean) / std.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/image/resize.h"
#include "crescendo/metrics/features.h"

namespace crescendo {

struct TorchScriptOptions {
  int64_t side = 224;
  Resampling filter = Resampling::kBicubic;
  std::vector<double> mean = {0.485, 0.456, 0.406};  // of ImageNet
  std::vector<double> std = {0.229, 0.224, 0.225};
  template <class Self, class V>
  static void fields(Self& self, V&& visit) {
    visit("side", self.side, "side of the network's input, in pixels");
    visit("filter", self.filter, "how pictures are resized to it");
    visit("mean", self.mean, "what is taken off red, green and blue, in 0..1");
    visit("std", self.std, "what they are then divided by");
  }
};

class TorchScriptExtractor : public FeatureExtractor {
 public:
  // Runs the network once, on grey: a file that is no TorchScript, or that answers otherwise than above, is refused.
  explicit TorchScriptExtractor(const std::filesystem::path& file, const TorchScriptOptions& options = {},
                                at::Device device = at::kCPU);
  ~TorchScriptExtractor() override;

  at::Tensor prepare(const Image& image) const override;           // (3, side, side)
  Features operator()(const at::Tensor& prepared) const override;  // no spatial ones; fp32 on the CPU
  // {"network": "torchscript", the options' fields, "weights": SHA-256 of the file}
  Json identity() const override;

 private:
  struct Module;
  std::string name_;
  TorchScriptOptions options_;
  at::Device device_;
  std::string sha256_;
  std::unique_ptr<const Module> module_;
};

}  // namespace crescendo
