#include "crescendo/engine/noise.h"

#include <ATen/ATen.h>

#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/rng.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

SeededNoise::SeededNoise(std::vector<uint64_t> seeds, int64_t tokens, int64_t channels, at::Device device)
    : seeds_(std::move(seeds)), tokens_(tokens), channels_(channels), device_(device) {
  std::vector<int64_t> bits;
  for (const uint64_t seed : seeds_) bits.push_back(static_cast<int64_t>(seed));
  seeds_on_device_ = at::tensor(bits, at::kLong);
  if (rows::serves(device)) seeds_on_device_ = seeds_on_device_.to(device);
}

// (count, B, L, C): of b, b + 1 and so on.
Tensor SeededNoise::draw(uint32_t purpose, int64_t a, int64_t b, int64_t count) const {
  const auto batch = static_cast<int64_t>(seeds_.size());
  // Where the device cannot draw, the CPU does.
  const at::Device where = rows::serves(device_) ? device_ : at::Device(at::kCPU);
  const Tensor out = at::empty({count, batch, tokens_, channels_}, at::TensorOptions(where).dtype(at::kFloat));
  rows::run(rows::Normals{count * batch, tokens_ * channels_, seeds_on_device_.data_ptr<int64_t>(), batch, purpose,
                          static_cast<uint32_t>(a), static_cast<uint32_t>(b), out.data_ptr<float>()},
            where);
  return out.to(device_);
}

Tensor SeededNoise::initial(int64_t s) const { return draw(static_cast<uint32_t>(Draw::kInitialNoise), s, 0, 1)[0]; }
Tensor SeededNoise::steps(int64_t s, int64_t n, int64_t count) const {
  return draw(static_cast<uint32_t>(Draw::kStepNoise), s, n, count);
}

Tensor SeededNoise::order() const {
  const Tensor out = at::empty({static_cast<int64_t>(seeds_.size()), tokens_}, at::kLong);
  for (size_t i = 0; i < seeds_.size(); ++i) {
    const std::span<int64_t> row(out[static_cast<int64_t>(i)].data_ptr<int64_t>(), static_cast<size_t>(tokens_));
    std::iota(row.begin(), row.end(), int64_t{0});
    Rng(seeds_[i], Draw::kOrder).shuffle(row);
  }
  return out.to(device_);
}

GivenNoise::GivenNoise(const TensorMap& tensors, const NoiseSource& fallback, int64_t batch, int64_t tokens,
                       int64_t channels)
    : fallback_(fallback) {
  for (const auto& [name, tensor] : tensors) {
    const auto expect = [&, &tensor = tensor, &name = name](int64_t leading, std::vector<int64_t> rest) {
      check(tensor.dim() == leading + static_cast<int64_t>(rest.size()) &&
                tensor.sizes().slice(static_cast<size_t>(leading)) == at::IntArrayRef(rest),
            "noise file: ", name, " must be [",
            leading == 2   ? "S, T, "
            : leading == 1 ? "S, "
                           : "",
            at::IntArrayRef(rest), "], got ", tensor.sizes());
    };
    if (name == "noise_init") {
      expect(1, {batch, tokens, channels});
      init_ = tensor.to(at::kFloat);
    } else if (name == "noise_step") {
      expect(2, {batch, tokens, channels});
      step_ = tensor.to(at::kFloat);
    } else if (name == "order") {
      expect(0, {batch, tokens});
      order_ = tensor.to(at::kLong);
      const Tensor sorted = std::get<0>(at::sort(order_, 1));
      check(at::equal(sorted, at::arange(tokens, at::kLong).expand({batch, tokens})),
            "noise file: each row of order must be a permutation of 0..", tokens - 1);
    } else {
      fail("noise file: unknown tensor ", name, "; it may hold noise_init, noise_step and order");
    }
  }
}

Tensor GivenNoise::initial(int64_t s) const {
  if (!init_.defined()) return fallback_.initial(s);
  check(s < init_.size(0), "noise file: noise_init holds ", init_.size(0), " outer steps, the plan has more");
  return init_[s].to(fallback_.initial(s).device());
}

Tensor GivenNoise::steps(int64_t s, int64_t n, int64_t count) const {
  if (!step_.defined()) return fallback_.steps(s, n, count);
  check(s < step_.size(0) && n + count <= step_.size(1), "noise file: noise_step holds ", step_.size(0), " outer and ",
        step_.size(1), " inner steps, the plan has more");
  return step_[s].slice(0, n, n + count).to(fallback_.initial(s).device());
}

Tensor GivenNoise::order() const { return order_.defined() ? order_ : fallback_.order(); }

}  // namespace crescendo
