// Where a sampler's randomness comes from: one stream per image, or tensors given from outside.
#pragma once

#include <optional>
#include <vector>

#include "crescendo/core/tensor.h"

namespace crescendo {

// Everything random in a generation, as a function of the outer step s and the inner step n (0 at the noisiest).
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  virtual Tensor initial(int64_t s) const = 0;  // x_T of outer step s: (B, L, C)
  // Of `count` inner steps from n on: (count, B, L, C). Many at once are drawn side by side, and go to a GPU together.
  virtual Tensor steps(int64_t s, int64_t n, int64_t count) const = 0;
  virtual Tensor order() const = 0;  // (B, L) int64: the last positions are revealed first
};

// Image b draws from the stream of seeds[b] alone, so it is the same in any batch.
class SeededNoise : public NoiseSource {
 public:
  SeededNoise(std::vector<uint64_t> seeds, int64_t tokens, int64_t channels, at::Device device);
  Tensor initial(int64_t s) const override;
  Tensor steps(int64_t s, int64_t n, int64_t count) const override;
  Tensor order() const override;

 private:
  Tensor draw(uint32_t purpose, int64_t a, int64_t b, int64_t count) const;
  std::vector<uint64_t> seeds_;
  Tensor seeds_on_device_;  // (B) int64, the same bits; on the CPU where the device cannot draw
  int64_t tokens_, channels_;
  at::Device device_;
};

// Tensors `noise_init` [S, B, L, C], `noise_step` [S, T, B, L, C] and `order` [B, L]; what is absent comes from
// `fallback`.
class GivenNoise : public NoiseSource {
 public:
  // Throws where a tensor's shape does not fit `batch`, tokens and channels, or `order` is no permutation.
  GivenNoise(const TensorMap& tensors, const NoiseSource& fallback, int64_t batch, int64_t tokens, int64_t channels);
  Tensor initial(int64_t s) const override;
  Tensor steps(int64_t s, int64_t n, int64_t count) const override;
  Tensor order() const override;

 private:
  const NoiseSource& fallback_;
  Tensor init_, step_, order_;
};

}  // namespace crescendo
