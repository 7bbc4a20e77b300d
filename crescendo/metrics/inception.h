// The FID Inception network as a FeatureExtractor, with the user's file of weights.
#pragma once

#include <filesystem>
#include <string>

#include "crescendo/metrics/features.h"
#include "crescendo/metrics/inception_input.h"
#include "crescendo/metrics/inception_network.h"

namespace crescendo {

struct InceptionOptions {
  InceptionPreset preset = InceptionPreset::kTf;
  at::ScalarType dtype = at::kFloat;  // or bf16, whose features differ by some 3 %
  at::Device device = at::kCPU;
};

class Inception : public FeatureExtractor {
 public:
  // `weights`: the weights of pytorch-fid or torch-fidelity, as PyTorch's file or safetensors. Anything else is
  // refused.
  explicit Inception(const std::filesystem::path& weights, const InceptionOptions& options = {});

  at::Tensor prepare(const Image& image) const override;           // (3, 299, 299)
  Features operator()(const at::Tensor& prepared) const override;  // all three, fp32 on the CPU
  // {"network": "inception-2015-12-05", "preset", "dtype", "weights": SHA-256 of the file}
  Json identity() const override;

 private:
  InceptionOptions options_;
  std::string sha256_;
  InceptionNetwork network_;
};

}  // namespace crescendo
