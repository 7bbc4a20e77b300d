// Latents of a data set in a file, and what they were made of: old latents never stand for new pictures.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

struct EncodedSet {
  Tensor moments;       // (N, 2C, h, w) fp32
  Tensor moments_flip;  // the same of the mirrored images; undefined where training does not flip
  Tensor labels;        // (N) int64
};

// A hash of sizes and weights, as 16 hexadecimal digits.
std::string tokenizer_fingerprint(const KlVae& vae);

// What latents are made of.
struct LatentOrigin {
  LatentOrigin(const Dataset& dataset, const std::string& spec, const KlVae& vae, bool flip, int64_t side);
  std::map<std::string, std::string> metadata;  // tokenizer, side, flip, classes, data
  Tensor pictures;                              // (N, 3) int64: the identity of each
};

class LatentCache {
 public:
  // Nothing where there is no such file, or none that this version can use.
  static std::optional<LatentCache> open(const std::filesystem::path& file);
  // Writes the images `rows` of the set; all of them make a finished cache, fewer one to go on from.
  static void write(const std::filesystem::path& file, const EncodedSet& set, const LatentOrigin& origin,
                    const std::vector<int64_t>& rows);

  bool finished() const;
  EncodedSet set() const;
  // In words, what is not as in `origin`; empty where the cache is of just that. `dataset` names the pictures.
  std::vector<std::string> differences(const LatentOrigin& origin, const Dataset& dataset) const;
  // The cache's row of each image of `origin`, -1 where it has none of this tokenizer and side.
  std::vector<int64_t> rows_of(const LatentOrigin& origin) const;
  // Whether the picture was read once, as it is now.
  std::function<bool(const PictureIdentity&)> has_picture() const;

 private:
  explicit LatentCache(Safetensors file) : file_(std::move(file)) {}
  std::string word(const std::string& key) const;
  Tensor tensor(const std::string& name) const;

  Safetensors file_;
};

}  // namespace crescendo
