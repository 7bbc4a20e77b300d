// Random numbers as a function of where they are used: one stream per image.
//
// Philox4x32-10 (Salmon et al. 2011) is a counter-based generator: number n of a stream needs no earlier one. A stream
// is named by a seed (the image's) and up to three indices (purpose, outer step, inner step), so what an image gets
// does not depend on the batch it is in, on threads, on the device or on the number of processes.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "crescendo/core/philox.h"

namespace crescendo {

// What a stream is for: different purposes never share numbers.
enum class Draw : uint32_t {
  kInitialNoise,  // x_T of an outer step
  kStepNoise,     // noise added at an inner step
  kOrder,         // order in which tokens are revealed
  kLevel,         // training: frequency level
  kMask,          // training: mask ratio and masked tokens
  kTimestep,      // training: t of each draw
  kDiffusion,     // training: noise of each draw
  kLabelDrop,     // training: unconditional?
  kPosterior,     // VAE posterior sample
  kFlip,          // training: horizontal flip
  kShuffle,       // order of a data set
  kDropout,       // seed of the generator of a micro-batch
  kScene,         // parameters of a rendered scene
  kOther,
  kInputNoise  // training: noise on the input of the transformer
};

class Rng {
 public:
  // Stream (purpose, a, b) of `seed`.
  Rng(uint64_t seed, Draw purpose, uint32_t a = 0, uint32_t b = 0);
  // From its number `index` on, a multiple of four, so that several can share a stream. One is a next_u32().
  Rng& seek(uint64_t index);

  uint32_t next_u32();
  uint64_t next_u64();
  double uniform();                         // in [0, 1)
  double uniform(double low, double high);  // in [low, high)
  int64_t below(int64_t n);                 // in 0..n-1, without bias
  double normal();                          // N(0, 1), Box-Muller
  void fill_normal(std::span<float> out);   // the same numbers whatever the length asked at once (in even pieces)
  template <class T>
  void shuffle(std::span<T> items) {  // Fisher-Yates
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<size_t>(below(static_cast<int64_t>(i)))]);
  }

 private:
  void refill();
  PhiloxStream stream_;
  uint64_t next_block_ = 0;
  PhiloxBlock block_{};
  unsigned used_ = 4;
};

// A 64-bit mix (splitmix64) of a seed and an index, for derived seeds.
uint64_t derive_seed(uint64_t seed, uint64_t index);
// A seed from the system, below 2^31 so that it is easy to type again.
uint64_t random_seed();

}  // namespace crescendo
