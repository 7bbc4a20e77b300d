// The log of a training run, log.jsonl: an object a line, with the mean loss since the line before.
#pragma once

#include <filesystem>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/train/training_checkpoint.h"

namespace crescendo {

class TrainingLog {
 public:
  TrainingLog(std::filesystem::path file, int64_t levels);

  // The losses of images (B), fp32, each of the level at its place in `levels` (B) int64, on the CPU.
  void add(const Tensor& image_loss, const Tensor& levels);

  struct Line {
    const TrainProgress& progress;
    double epoch, learning_rate, grad_norm, images_per_s;
  };
  // Appends a line and returns its mean loss, NaN where no loss was added since the last. Throws where it cannot write.
  double write(const Line& line);

 private:
  struct Sum {
    double loss = 0;
    int64_t images = 0;
    double mean() const;  // NaN without images: null in JSON
  };
  std::filesystem::path file_;
  Sum all_;
  std::vector<Sum> of_level_;
};

}  // namespace crescendo
