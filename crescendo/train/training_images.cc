#include "crescendo/train/training_images.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/image.h"

namespace crescendo {

TrainingImages::TrainingImages(std::vector<std::unique_ptr<Dataset>> sets, uint64_t seed) : sets_(std::move(sets)) {
  int64_t total = 0;
  for (const auto& set : sets_) {
    starts_.push_back(total);
    total += set->size();
  }
  check_usage(total > 0, "the data set is empty");
  order_ = epoch_order(total, derive_seed(seed, 2), 0);
}

LabelledImages TrainingImages::batch(std::span<const int64_t> indices) const {
  std::vector<std::vector<int64_t>> asked(sets_.size()), places(sets_.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    const int64_t image = order_.at(static_cast<size_t>(indices[i]));
    const auto set = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), image) - starts_.begin()) - 1;
    asked[set].push_back(image - starts_[set]);
    places[set].push_back(static_cast<int64_t>(i));
  }
  const auto count = static_cast<int64_t>(indices.size());
  LabelledImages out{{}, at::empty({count}, at::kLong)};
  for (size_t set = 0; set < sets_.size(); ++set) {
    if (asked[set].empty()) continue;
    const LabelledImages part = sets_[set]->batch(asked[set]);  // (n, 3, side, side)
    if (!out.images.defined())
      out.images =
          at::empty({count, part.images.size(1), part.images.size(2), part.images.size(3)}, part.images.options());
    out.images.index_copy_(0, at::tensor(places[set]), part.images);
    out.labels.index_copy_(0, at::tensor(places[set]), part.labels);
  }
  return out;
}

LabelledImages TrainingImages::batch(int64_t first, int64_t last) const {
  std::vector<int64_t> indices(static_cast<size_t>(std::max<int64_t>(0, last - first)));
  std::iota(indices.begin(), indices.end(), first);
  return batch(indices);
}

Tensor worn(const Tensor& images, const Augmentation& augmentation, uint64_t seed, uint32_t step) {
  Rng amounts(seed, Draw::kOther, step), noise(seed, Draw::kOther, step, 1);
  const int64_t count = images.size(0);
  // (B, 1, 1, 1), each image's own.
  const auto drawn = [&](double most, auto&& of) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = static_cast<float>(of(amounts.uniform(0, most)));
    return at::tensor(values).view({-1, 1, 1, 1});
  };
  Tensor x = images;
  if (augmentation.blur > 0) {
    // A Gaussian this narrow has one neighbour to either side that counts.
    const Tensor side =
        drawn(augmentation.blur, [](double sigma) { return std::exp(-0.5 / std::max(sigma * sigma, 1e-6)); });
    for (const int64_t dim : {2, 3}) {
      const int64_t n = x.size(dim);
      const Tensor before = at::cat({x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)}, dim);
      const Tensor behind = at::cat({x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)}, dim);
      x = (x + side * (before + behind)) / (1 + 2 * side);
    }
  }
  if (augmentation.noise > 0) {
    Tensor added = at::empty(x.sizes());
    noise.fill_normal({added.data_ptr<float>(), static_cast<size_t>(added.numel())});
    x = (x + added * drawn(augmentation.noise, [](double sigma) { return sigma; })).clamp(-1, 1);
  }
  return x;
}

ImageBatches::ImageBatches(const TrainingImages& images, int64_t count, int64_t batch, uint64_t seed,
                           const Augmentation& how)
    : images_(images), batch_(batch), seed_(seed), how_(how), order_(count, seed) {
  prefetch();
}

ImageBatches::~ImageBatches() {
  if (next_.valid()) next_.wait();
}

LabelledImages ImageBatches::next() {
  LabelledImages batch = next_.get();
  prefetch();
  return batch;
}

void ImageBatches::prefetch() {
  std::vector<int64_t> indices(static_cast<size_t>(batch_));
  for (int64_t& index : indices) index = order_.index_of(asked_++);
  const uint32_t step = step_++;
  Rng flips(seed_, Draw::kFlip, step);
  std::vector<int64_t> mirrored;
  if (how_.flip)
    for (int64_t i = 0; i < batch_; ++i)
      if (flips.uniform() < 0.5) mirrored.push_back(i);
  next_ = std::async(std::launch::async, [this, step, indices = std::move(indices), mirrored = std::move(mirrored)] {
    LabelledImages out = images_.batch(indices);
    for (const int64_t i : mirrored) out.images[i].copy_(out.images[i].flip({2}));
    out.images = worn(from_bytes(out.images), how_, seed_, step);
    return out;
  });
}

}  // namespace crescendo
