// What a training run shows of itself: a sheet of samples, and their score where there is a measure.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/pipeline/pipeline.h"
#include "crescendo/train/loop.h"
#include "crescendo/train/text_side.h"

namespace crescendo {

struct SampleScore {
  Json report;
  std::string line;  // the report in short, for the log
};

// What to draw of a model, and who judges it. Where `score` is empty, a few pictures of what the data show are drawn.
struct SampleTask {
  std::vector<int64_t> labels;       // class models: class of each picture
  std::vector<std::string> prompts;  // text models: prompt of each picture
  std::function<SampleScore(const std::vector<Image>&)> score;
  bool sheet = true;  // false: the score alone
};
using ChooseSamples = std::function<SampleTask(const ModelInfo&)>;

// What a choice of pictures may depend on besides the model: the data set, which may be kept, and how large pictures
// and tokens are, in pixels.
struct RunData {
  std::shared_ptr<const Dataset> set;
  int64_t side = 0;
  int64_t token_side = 0;
};
using ChooseEvaluation = std::function<SampleTask(const ModelInfo&, const RunData&)>;

// A TrainHooks::on_sample or on_evaluate: pictures of the averaged weights, on a sheet in OUT/samples, with a line in
// OUT/scores.jsonl. The weights that are trained are not touched.
class TrainSamples {
 public:
  // `text` is null for class models. A frozen encoder reads the prompts now; one that learns along must outlive this,
  // as must `info`.
  TrainSamples(const ModelInfo& info, std::shared_ptr<const KlVae> vae, std::filesystem::path out, uint64_t seed,
               SampleTask task, TextSide* text);

  // A warning stands for pictures that cannot be drawn, as where weights are not finite.
  void operator()(const TrainProgress& progress, const TensorMap& weights) const;

 private:
  void write_sheet(const TrainProgress& progress, const std::vector<Image>& images) const;
  std::vector<Image> draw(const TensorMap& weights) const;  // empty where the user stopped it

  const ModelInfo& info_;
  std::shared_ptr<const KlVae> vae_;
  std::filesystem::path out_;
  Request request_;
  std::vector<std::string> captions_;  // of each picture
  std::function<SampleScore(const std::vector<Image>&)> score_;
  bool sheet_;
  const TextEncoder* encoder_ = nullptr;  // one that is trained along
};

}  // namespace crescendo
