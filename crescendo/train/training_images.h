// Pictures as networks of pixels are trained on them: sets mixed in one order, and batches of them, mirrored and worn.
#pragma once

#include <future>
#include <memory>
#include <span>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

// Data sets one behind the other, in an order shuffled once for all, so that the last images are a fair sample.
class TrainingImages {
 public:
  TrainingImages(std::vector<std::unique_ptr<Dataset>> sets, uint64_t seed);
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  // (n, 3, side, side) uint8, and each image's class in its own set.
  LabelledImages batch(std::span<const int64_t> indices) const;
  LabelledImages batch(int64_t first, int64_t last) const;  // first..last-1

 private:
  std::vector<std::unique_ptr<Dataset>> sets_;
  std::vector<int64_t> starts_;  // number of the first image of each set
  std::vector<int64_t> order_;
};

// What may happen to an image before it is learned from, each image drawing its own amount.
struct Augmentation {
  bool flip = false;   // half of the images are mirrored
  double blur = 0.0;   // largest standard deviation of a Gaussian, pixels; up to 0.5
  double noise = 0.0;  // largest standard deviation of noise, black to white being 2
};

// Blurred and noisy by amounts and numbers of the stream (seed, step): (B, 3, H, W) in [-1, 1] -> the same.
Tensor worn(const Tensor& images, const Augmentation& augmentation, uint64_t seed, uint32_t step);

// Hands out the first `count` images in a new random order each time round, one batch ahead of the network.
class ImageBatches {
 public:
  // `images` must outlive this.
  ImageBatches(const TrainingImages& images, int64_t count, int64_t batch, uint64_t seed, const Augmentation& how);
  ~ImageBatches();

  LabelledImages next();  // images (batch, 3, side, side) in [-1, 1]

 private:
  void prefetch();

  const TrainingImages& images_;
  int64_t batch_;
  uint64_t seed_;
  Augmentation how_;
  ImageOrder order_;
  int64_t asked_ = 0;  // images so far
  uint32_t step_ = 0;
  std::future<LabelledImages> next_;
};

}  // namespace crescendo
