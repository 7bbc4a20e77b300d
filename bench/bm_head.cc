// One inner step of the diffusion head: (x_t, y) -> eps and variance fraction for every token, guided.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <vector>

#include "bench/support.h"
#include "crescendo/engine/fused_head.h"

namespace crescendo::bench {
namespace {

using Row = std::vector<double>;

Row linear(const TensorMap& weights, const std::string& name, const Row& x) {
  const auto w = weights.at(name + ".weight").accessor<float, 2>();
  const auto b = weights.at(name + ".bias").accessor<float, 1>();
  Row out;
  for (int64_t i = 0; i < w.size(0); ++i) {
    double sum = b[i];
    for (int64_t j = 0; j < w.size(1); ++j) sum += static_cast<double>(w[i][j]) * x[static_cast<size_t>(j)];
    out.push_back(sum);
  }
  return out;
}

Row silu(Row x) {
  for (double& v : x) v /= 1 + std::exp(-v);
  return x;
}

Row normalized(Row x) {
  const auto n = static_cast<double>(x.size());
  double mean = 0, square = 0;
  for (const double v : x) mean += v / n;
  for (const double v : x) square += (v - mean) * (v - mean) / n;
  for (double& v : x) v = (v - mean) / std::sqrt(square + 1e-6);
  return x;
}

// The head for one token, in double and number by number.
Row plain_head(const TensorMap& weights, const HeadConfig& config, const Row& x_t, const Row& y) {
  const Row condition = silu(y);
  const auto width = static_cast<size_t>(config.width);
  Row x = linear(weights, "input_proj", x_t);
  for (int64_t block = 0; block < config.blocks; ++block) {
    const std::string name = "res_blocks." + std::to_string(block);
    const Row m = linear(weights, name + ".adaLN_modulation.1", condition);  // shift, scale, gate
    const float* gain = weights.at(name + ".in_ln.weight").data_ptr<float>();
    const float* bias = weights.at(name + ".in_ln.bias").data_ptr<float>();
    Row h = normalized(x);
    for (size_t i = 0; i < width; ++i) h[i] = (h[i] * gain[i] + bias[i]) * (1 + m[width + i]) + m[i];
    h = linear(weights, name + ".mlp.2", silu(linear(weights, name + ".mlp.0", h)));
    for (size_t i = 0; i < width; ++i) x[i] += m[2 * width + i] * h[i];
  }
  const Row m = linear(weights, "final_layer.adaLN_modulation.1", condition);  // shift, scale
  Row h = normalized(x);
  for (size_t i = 0; i < width; ++i) h[i] = h[i] * (1 + m[width + i]) + m[i];
  return linear(weights, "final_layer.linear", h);
}

Row row_of(const Tensor& x, int64_t i) {
  const float* values = x.data_ptr<float>() + i * x.size(1);
  return {values, values + x.size(1)};
}

// The evaluations of an outer step of eight inner ones.
void head_steps(benchmark::State& state, const ModelConfig& m, int64_t images, bool fused) {
  constexpr int64_t kSteps = 8;
  const at::NoGradGuard no_grad;
  const HeadConfig config{m.token_channels(), m.width, m.diffusion_width, m.diffusion_blocks, true};
  Params outline = Params::outline();
  Head(Scope(outline), config);
  const TensorMap weights = random_weights(outline.items());
  Params params = Params::from(weights, "random weights");
  const Head head(Scope(params), config);
  const int64_t rows = 2 * images * m.tokens();
  const Tensor x = randn({rows, m.token_channels()}, 1), z = randn({rows, m.diffusion_width}, 2),
               times = randn({kSteps, m.diffusion_width}, 3), y = z + times[0];
  FusedHead fused_head(head);
  const auto run = [&] {
    if (fused) fused_head.begin(z, times);
    Tensor out;
    for (int64_t i = kSteps - 1; i >= 0; --i) out = fused ? fused_head.forward(x, i) : head.forward(x, z + times[i]);
    return out;
  };

  const Tensor result = run();
  std::vector<Tensor> got, expected;
  for (const int64_t i : {int64_t{0}, rows - 1}) {
    got.push_back(result[i]);
    expected.push_back(at::tensor(plain_head(weights, config, row_of(x, i), row_of(y, i)), at::kDouble));
  }
  if (!accept(state, relative_l2(at::stack(got), at::stack(expected)), 1e-4)) return;

  const auto w = static_cast<double>(m.diffusion_width), c = static_cast<double>(m.token_channels());
  // Per row: input; modulation (3 W^2) and MLP (2 W^2) of each block; last modulation (2 W^2) and output.
  const double products = c * w + static_cast<double>(m.diffusion_blocks) * 5 * w * w + 2 * w * w + w * 2 * c;
  time(state, 2.0 * static_cast<double>(kSteps * rows) * products,
       product_rate(rows, m.diffusion_width, m.diffusion_width), run);
  state.counters["rows"] = static_cast<double>(rows);
}

void plain(benchmark::State& state, const ModelConfig& m, int64_t images) { head_steps(state, m, images, false); }
void fused(benchmark::State& state, const ModelConfig& m, int64_t images) { head_steps(state, m, images, true); }

BENCHMARK_CAPTURE(plain, eight_steps_far_b_1_image, far_b(), 1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fused, eight_steps_far_b_1_image, far_b(), 1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plain, eight_steps_shapes_64_1_image, shapes_64(), 1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fused, eight_steps_shapes_64_1_image, shapes_64(), 1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(plain, eight_steps_shapes_64_8_images, shapes_64(), 8)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fused, eight_steps_shapes_64_8_images, shapes_64(), 8)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
