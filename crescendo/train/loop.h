// The training loop: batches -> weights, resumable bit for bit.
//
// A run folder holds options.json (what was resolved), log.jsonl (one object per log line), checkpoint.safetensors
// (weights, EMA, optimizer, progress). Everything random is a function of (seed, image counter), so nothing of a
// generator's state has to be saved.
//
// A step whose loss or gradient is not finite updates nothing. Before weights are saved or drawn with they are looked
// at: all finite, and the loss of the first images of this run neither gone nor a hundred times what it was. Where they
// are not, the run ends, and what was saved before stays.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/text/text_encoder.h"
#include "crescendo/train/training_checkpoint.h"

namespace crescendo {

struct TrainingBatch {
  Tensor latents;       // (B, C, H, W) in scaled units
  Tensor labels;        // (B) int64, class models
  Tensor text;          // (B, N, hidden), text models whose encoder is frozen
  TextTokens tokens{};  // text models whose encoder is trained along
};

// A data set of latents. `seeds` are the images' streams, for the posterior sample and flips.
class LatentSource {
 public:
  virtual ~LatentSource() = default;
  virtual int64_t size() const = 0;
  virtual TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const = 0;
};

// In checkpoints and hooks, the weights of an encoder that is trained along have this in front.
inline constexpr const char* kTextEncoderPrefix = "text_encoder.";
// Takes them out of a hook's weights, under their own names; what is left is the image model's.
TensorMap take_text_encoder(TensorMap& weights);

struct TrainHooks {
  // When a grid of samples is due. `weights` are the EMA's, views that change when training goes on.
  std::function<void(const TrainProgress&, const TensorMap& weights)> on_sample;
  // When an evaluation is due; of the same weights.
  std::function<void(const TrainProgress&, const TensorMap& weights)> on_evaluate;
  // After each checkpoint and at the end: write the model directory.
  std::function<void(const TrainProgress&, const TensorMap& weights)> on_save;
};

// Throws where `out` holds a run already, or with `resume` holds none. train() looks, too; this is for finding out
// before the data set is encoded.
void check_run_folder(const std::filesystem::path& out, bool resume);

// Trains `model` until config.train.images, or until a signal asks to stop; then saves. Throws where the weights have
// diverged, or after max_bad_steps steps in a row without an update. With `resume`, goes on from
// out/checkpoint.safetensors, which must be of the same model and objective. `text_encoder`: trained along with the
// model, by the same optimizer; null for class models and where it is frozen.
TrainProgress train(FarModel& model, const TrainConfig& config, const LatentSource& data,
                    const std::filesystem::path& out, bool resume, const TrainHooks& hooks,
                    TextEncoder* text_encoder = nullptr);

}  // namespace crescendo
