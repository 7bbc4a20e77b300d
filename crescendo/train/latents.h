// Latents of a whole data set in memory: images are encoded once, before training.
#pragma once

#include <filesystem>

#include "crescendo/data/dataset.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/train/latent_cache.h"
#include "crescendo/train/loop.h"

namespace crescendo {

// Images of `side` pixels for the tokenizer to take at a time without training: at 256 x 256 pixels and 128 channels
// one feature map is 34 MB, and several live at a time.
int64_t tokenizer_batch(int64_t side);

// Encodes every image of `dataset` with `vae`. With `cache_file` not empty, the result is kept there and read back when
// it was made of the same: names, sizes and dates of the pictures, classes, captions, side, flip and tokenizer. What
// differs is said, and everything encoded anew. What an interruption left unfinished is gone on with.
EncodedSet encode_dataset(const Dataset& dataset, const std::string& spec, const KlVae& vae, bool flip,
                          const std::filesystem::path& cache_file);

class CachedLatents : public LatentSource {
 public:
  // `posterior_std` is a share of the standard deviation of the posterior: 1 samples it, 0 takes its mean.
  CachedLatents(EncodedSet set, const KlVae& vae, double posterior_std = 1);
  int64_t size() const override { return set_.labels.size(0); }
  // A fresh draw from the posterior of each image, and its mirror image half of the time where flips were encoded.
  TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override;

 private:
  EncodedSet set_;
  const KlVae& vae_;
  double posterior_std_;
};

}  // namespace crescendo
