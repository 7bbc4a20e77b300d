#include "crescendo/train/training_log.h"

#include <ATen/core/Tensor.h>

#include <cmath>

#include "crescendo/core/json.h"

namespace crescendo {

TrainingLog::TrainingLog(std::filesystem::path file, int64_t levels)
    : file_(std::move(file)), of_level_(static_cast<size_t>(levels) + 1) {}

void TrainingLog::add(const Tensor& image_loss, const Tensor& levels) {
  const Tensor loss = image_loss.to(at::kCPU);
  for (int64_t b = 0; b < loss.size(0); ++b)
    for (Sum* sum : {&all_, &of_level_[static_cast<size_t>(levels.data_ptr<int64_t>()[b])]}) {
      sum->loss += loss.data_ptr<float>()[b];
      ++sum->images;
    }
}

double TrainingLog::Sum::mean() const { return images ? loss / static_cast<double>(images) : NAN; }

double TrainingLog::write(const Line& line) {
  Json per_level = Json::object();
  for (size_t i = 0; i < of_level_.size(); ++i)
    if (of_level_[i].images) per_level[std::to_string(i)] = of_level_[i].mean();
  const double mean = all_.mean();
  const Json json = {{"step", line.progress.steps},
                     {"images", line.progress.images},
                     {"epoch", line.epoch},
                     {"loss", mean},
                     {"loss_per_level", per_level},
                     {"lr", line.learning_rate},
                     {"grad_norm", line.grad_norm},
                     {"images_per_s", line.images_per_s},
                     {"seconds", line.progress.seconds}};
  append_json_line(file_, json);
  all_ = {};
  of_level_.assign(of_level_.size(), {});
  return mean;
}

}  // namespace crescendo
