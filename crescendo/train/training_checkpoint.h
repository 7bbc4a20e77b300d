// The file that a training run goes on from (docs/formats.md, "Run folder of train"): weights, their average, the
// optimizer's moments and how far the run is.
#pragma once

#include <filesystem>
#include <string>

#include "crescendo/train/options.h"

namespace crescendo {

inline constexpr const char* kCheckpointFile = "checkpoint.safetensors";  // in a run folder

struct TrainProgress {
  int64_t images = 0;
  int64_t steps = 0;
  double seconds = 0;  // of training so far, resumed runs included
  double loss = 0;     // mean since the last log line; not stored
};

// The first weight, average or moment that holds a value which is not finite, as the file calls it; empty where all
// are finite.
std::string first_not_finite(const AdamW& optimizer, const Ema& ema);

void write_checkpoint(const std::filesystem::path& file, const TrainConfig& config, const AdamW& optimizer,
                      const Ema& ema, const TrainProgress& progress);

// Fills optimizer, its parameters and average. Throws unless the file is of the same model, objective and seed, and all
// in it is finite.
TrainProgress read_checkpoint(const std::filesystem::path& file, const TrainConfig& config, AdamW& optimizer, Ema& ema);

}  // namespace crescendo
