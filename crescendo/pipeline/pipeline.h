// request -> images: the whole chain of a loaded model, for the command line, the server and embedding.
//
//   condition (class or text) -> plan -> sample -> decode
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "crescendo/image/image.h"
#include "crescendo/order/sample.h"
#include "crescendo/store/model_dir.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

struct LoadOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  bool tokenizer = true;  // without it only latents can be had
  bool int8 = false;      // see Execution
};

constexpr int64_t kUnconditional = -1;

// What a strip shows of every outer step: its prediction, or what the filter leaves of that for the next step to see
// (paper, figure 12), which after the last is the picture.
enum class StripOf { kPredictions, kInputs };
constexpr auto enum_table(StripOf) {
  return std::array{EnumName{StripOf::kPredictions, "predictions"}, EnumName{StripOf::kInputs, "inputs"}};
}
// One label per outer step: "level 2", the level that predicted or that is left; "side 4", a scale; MAR and raster, which
// have neither, count their steps.
std::vector<std::string> strip_labels(const Plan& plan, StripOf strip_of, const ModelConfig& model);

// A generation: one entry of `seeds` per image.
struct Request {
  std::vector<int64_t> labels;  // class models: class of each image
  Tensor text;                  // text models: states (U, N, hidden) of different prompts (encode_prompts in prompts.h)
  std::vector<int64_t> text_rows;  // row of `text` for each image, kUnconditional for none; empty: image i takes row i
  std::vector<uint64_t> seeds;
  Json sampler = Json::object();  // asked on top of what the model asks (resolve_sampler)
  int64_t batch = 8;              // images at a time; does not change them
  bool decode = true;
  bool strip = false;  // also decode every outer step
  StripOf strip_of = StripOf::kPredictions;
  bool trace = false;  // also keep the tokens entering every outer step
  TensorMap noise;     // see GivenNoise; for all images
  int64_t size() const { return static_cast<int64_t>(seeds.size()); }
};

struct Generated {
  int64_t index = 0;         // of the image in the request
  Image image;               // empty without decode
  Tensor latent;             // (C, H, W), divided by nothing: before the latent scale is taken out
  std::vector<Image> strip;  // one per outer step
  Tensor trace;              // (S, L, C)
};

struct PipelineHooks {
  std::function<void(Generated)> on_image;                           // as soon as it is finished
  std::function<bool(double done, const std::string&)> on_progress;  // share of the request; false stops
};

class Pipeline {
 public:
  static std::unique_ptr<Pipeline> load(const std::filesystem::path& dir, const LoadOptions& options);
  // From parts, for training's sample grids. `vae` may be null.
  Pipeline(ModelInfo info, std::unique_ptr<FarModel> model, std::shared_ptr<const KlVae> vae, Execution execution = {});

  const ModelInfo& info() const { return info_; }
  const FarModel& model() const { return *model_; }
  // One call at a time works, others wait. False where a hook stopped it; the images finished so far were handed out.
  // Throws where latents or a picture are not finite. Warns of a plan that draws noise (noise_warning), and of the
  // first image whose latents look like it.
  bool generate(const Request& request, const PipelineHooks& hooks) const;

 private:
  Tensor condition(const Request& request, int64_t begin, int64_t end) const;
  ModelInfo info_;
  std::unique_ptr<const FarModel> model_;
  // What one generation leaves for the next.
  mutable std::mutex busy_;
  mutable Sampler sampler_;
  std::shared_ptr<const KlVae> vae_;
};

}  // namespace crescendo
