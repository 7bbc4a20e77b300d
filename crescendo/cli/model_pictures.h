// Pictures that a model draws when they are asked for: number i is the same whatever was drawn before.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/cli/sampler_args.h"
#include "crescendo/pipeline/pipeline.h"
#include "crescendo/text/text_encoder.h"

namespace crescendo {

// What to draw: of each picture the class, or for text models the prompt, and the seed.
struct Wanted {
  std::vector<int64_t> labels;
  std::vector<std::string> prompts;
  std::vector<uint64_t> seeds;
  int64_t size() const { return static_cast<int64_t>(seeds.size()); }
  Wanted part(int64_t first, int64_t count) const;
};

class ModelPictures {
 public:
  ModelPictures(const std::filesystem::path& dir, const ModelInfo& info, at::Device device, at::ScalarType dtype,
                const SamplerArgs& sampler, at::Device encoder_device, int64_t batch);
  // Nothing where it was interrupted.
  std::vector<Image> draw(const Wanted& wanted) const;

 private:
  std::unique_ptr<TextEncoder> encoder_;
  std::unique_ptr<Pipeline> pipeline_;
  Json sampler_;
  int64_t batch_;
};

}  // namespace crescendo
