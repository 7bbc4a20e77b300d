// The images that a tokenizer is trained on.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

// Data sets one behind the other, in an order shuffled once for all, so that the last images are a fair sample.
class TokenizerImages {
 public:
  TokenizerImages(std::vector<std::unique_ptr<Dataset>> sets, uint64_t seed);
  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  Tensor batch(std::span<const int64_t> indices) const;  // (n, 3, side, side) uint8

 private:
  std::vector<std::unique_ptr<Dataset>> sets_;
  std::vector<int64_t> starts_;  // number of the first image of each set
  std::vector<int64_t> order_;
};

// Images first .. last - 1 in [-1, 1]: (n, 3, side, side).
Tensor image_range(const TokenizerImages& images, int64_t first, int64_t last);
// How many of them are measured at a time.
int64_t measure_batch(const TokenizerImages& images);

}  // namespace crescendo
