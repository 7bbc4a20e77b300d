#include "crescendo/train/tokenizer_images.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/image.h"
#include "crescendo/train/latents.h"

namespace crescendo {

TokenizerImages::TokenizerImages(std::vector<std::unique_ptr<Dataset>> sets, uint64_t seed) : sets_(std::move(sets)) {
  int64_t total = 0;
  for (const auto& set : sets_) {
    starts_.push_back(total);
    total += set->size();
  }
  check_usage(total > 0, "the data set is empty");
  order_ = epoch_order(total, derive_seed(seed, 2), 0);
}

Tensor TokenizerImages::batch(std::span<const int64_t> indices) const {
  std::vector<std::vector<int64_t>> asked(sets_.size()), places(sets_.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    const int64_t image = order_.at(static_cast<size_t>(indices[i]));
    const auto set = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), image) - starts_.begin()) - 1;
    asked[set].push_back(image - starts_[set]);
    places[set].push_back(static_cast<int64_t>(i));
  }
  Tensor out;
  for (size_t set = 0; set < sets_.size(); ++set) {
    if (asked[set].empty()) continue;
    const Tensor images = sets_[set]->batch(asked[set]).images;  // (n, 3, side, side)
    if (!out.defined())
      out = at::empty({static_cast<int64_t>(indices.size()), images.size(1), images.size(2), images.size(3)},
                      images.options());
    out.index_copy_(0, at::tensor(places[set]), images);
  }
  return out;
}

Tensor image_range(const TokenizerImages& images, int64_t first, int64_t last) {
  std::vector<int64_t> indices(static_cast<size_t>(std::max<int64_t>(0, last - first)));
  std::iota(indices.begin(), indices.end(), first);
  return from_bytes(images.batch(indices));
}

int64_t measure_batch(const TokenizerImages& images) { return tokenizer_batch(image_range(images, 0, 1).size(2)); }

}  // namespace crescendo
