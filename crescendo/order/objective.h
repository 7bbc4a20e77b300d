// The training objective (paper, sections 4.2 and 4.3): latents and conditions of a batch -> loss.
//
//   level i, mask of ratio in [r_i, 1]  ->  z = backbone(lowpass(x, i) visible)  ->  w_i (mse + vb) of the head on x
//
// far_loss (far.h) states it, and mar.h, raster.h and next_scale.h those of other orders; here is what they share. All
// that is random about an image is drawn from its own stream, so a batch may be split in any way.
#pragma once

#include <vector>

#include "crescendo/model/far_model.h"
#include "crescendo/order/objective_options.h"
#include "crescendo/spectral/lowpass.h"

namespace crescendo {

struct ObjectiveBatch {
  Tensor latents;                     // (B, C, H, W) in scaled units
  Tensor condition;                   // (B, *, D) from the model, with gradient
  std::vector<uint64_t> image_seeds;  // a stream for each image
  uint64_t batch_seed = 0;            // the stream of what is drawn once per batch
};

struct ObjectiveResult {
  Tensor loss;        // () mean over the batch, weighted
  Tensor image_loss;  // (B) unweighted, detached
  Tensor levels;      // (B) int64, CPU
  Tensor missing;     // (B, L) bool, CPU: hidden from the encoder; undefined without masks
};

// By the model's order of generation.
ObjectiveResult objective(const FarModel& model, const ObjectiveOptions& options, const Lowpass& lowpass,
                          const ObjectiveBatch& batch);

// w_i = 1 + sin(pi/2 i/F), where i = level + 1 is the level predicted from input `level`.
double level_weight(int64_t level, int64_t levels);

//----------------------------------------------------------------------------
// The parts of a loss.

// A level for each image: (B) int64, on the CPU.
Tensor draw_levels(const ObjectiveOptions& options, int64_t levels, const ObjectiveBatch& batch);
// Which tokens are hidden, for masks drawn at these levels: (B, L) bool, on the CPU; undefined without masks.
Tensor draw_missing(const ObjectiveOptions& options, const ModelConfig& model, const Tensor& levels,
                    const ObjectiveBatch& batch);
// Noise like x, of a standard deviation drawn from [0, most] for each image, from its stream of number `stream`.
Tensor image_noise(const Tensor& x, double most, uint32_t stream, const ObjectiveBatch& batch);
// The latents with the noise of options.input_noise.
Tensor noised_latents(const ObjectiveOptions& options, const ObjectiveBatch& batch);
// The transformer's output for tokens (B, L, C), or the inputs of a Sequence, with dropout, and without the condition
// for a share of the images: z (B, L, D).
Tensor conditions_of(const FarModel& model, const ObjectiveOptions& options, const Tensor& tokens,
                     const Tensor& missing, const ObjectiveBatch& batch);
// The head's loss on the target tokens (B, L, C) for draws of (t, noise), at levels (B) or (B, L): (B, L).
Tensor token_loss(const FarModel& model, const ObjectiveOptions& options, const Tensor& z, const Tensor& levels,
                  const Tensor& target, const ObjectiveBatch& batch);
// Its mean over all tokens or the hidden ones: (B).
Tensor loss_of(const FarModel& model, const ObjectiveOptions& options, const Tensor& z, const Tensor& levels,
               const Tensor& target, const Tensor& missing, const ObjectiveBatch& batch);

}  // namespace crescendo
