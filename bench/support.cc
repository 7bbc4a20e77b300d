#include "bench/support.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/rng.h"

namespace crescendo::bench {

ModelConfig far_b() { return model_preset("far-b"); }

ModelConfig shapes_64() {
  ModelConfig c;
  c.width = 192;
  c.encoder_blocks = c.decoder_blocks = 3;
  c.heads = 6;
  c.diffusion_width = 256;
  c.diffusion_blocks = 3;
  c.latent_channels = 3;
  c.patch = 4;
  c.buffer_size = 4;
  c.classes = 80;
  return c;
}

Tensor randn(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

TensorMap random_weights(const std::vector<std::pair<std::string, Tensor>>& outline) {
  TensorMap out;
  uint64_t seed = 1;
  for (const auto& [name, shape_only] : outline) {
    const at::IntArrayRef shape = shape_only.sizes();
    const double fan_in = shape.size() > 1 ? static_cast<double>(shape.back()) : 25.0;
    Tensor values = randn(shape, seed++).mul_(1 / std::sqrt(fan_in));
    if (name.find("norm") != std::string::npos || name.find("_ln.") != std::string::npos)
      if (name.ends_with("weight")) values.add_(1);  // scales of layer norms
    out[name] = values;
  }
  return out;
}

double relative_l2(const Tensor& a, const Tensor& expected) {
  const Tensor x = a.to(at::kDouble), y = expected.to(at::kDouble);
  return (x - y).norm().item<double>() / y.norm().item<double>();
}

bool accept(benchmark::State& state, double error, double tolerance) {
  state.counters["error"] = error;
  if (error < tolerance) return true;
  state.SkipWithError(("differs from the plain statement by " + std::to_string(error)).c_str());
  return false;
}

double product_rate(int64_t rows, int64_t inner, int64_t columns) {
  using Clock = std::chrono::steady_clock;
  const Tensor a = randn({rows, inner}, 1), b = randn({inner, columns}, 2);
  Tensor out = at::mm(a, b);
  const double flop = 2.0 * static_cast<double>(rows * inner) * static_cast<double>(columns);
  const int64_t repeats = std::max<int64_t>(1, static_cast<int64_t>(2e9 / flop));
  double best = 0;
  for (int trial = 0; trial < 5; ++trial) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < repeats; ++i) at::mm_out(out, a, b);
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, flop * static_cast<double>(repeats) / seconds.count());
  }
  return best;
}

}  // namespace crescendo::bench
