// What a training run shows of itself: a sheet of samples, and scores where the data are shapes.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/data/geneval.h"
#include "crescendo/pipeline/pipeline.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/train/loop.h"

namespace crescendo {

// A TrainHooks::on_sample: pictures of the averaged weights, on a sheet in OUT/samples, with a line in
// OUT/scores.jsonl.
class TrainSamples {
 public:
  // Class models. Scored where the classes are those of the shapes.
  TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out, uint64_t seed);
  // Text models. A frozen encoder reads the captions now; another one must outlive this. The captions are those of
  // `prompts`, to be scored by GenEval's rules, or else `captions`.
  TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out, uint64_t seed,
               const TextEncoder& encoder, bool frozen, std::vector<GenevalPrompt> prompts,
               std::vector<std::string> captions);

  // A warning stands for a sheet that cannot be drawn, as where weights are not finite.
  void operator()(const TrainProgress& progress, const TensorMap& weights) const;

 private:
  std::vector<Image> draw(const TensorMap& weights) const;  // empty where the user stopped it
  void write_score(const TrainProgress& progress, Json score) const;

  const ModelInfo& info_;
  std::shared_ptr<const KlVae> vae_;
  std::filesystem::path out_;
  Request request_;
  std::vector<std::string> captions_;     // of each picture
  bool shapes_ = false;                   // class models: the classes are the shapes
  std::vector<GenevalPrompt> prompts_;    // of each picture, where text models are scored
  const TextEncoder* encoder_ = nullptr;  // one that is trained along
};

}  // namespace crescendo
