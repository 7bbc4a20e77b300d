// Self-attention of one decoder block: conditional and unconditional rows of a batch of images.
#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "bench/support.h"
#include "crescendo/nn/layers.h"

namespace crescendo::bench {
namespace {

// softmax(q k^T / sqrt(d)) v of one query, number by number; rows (M, d).
Tensor plain_row(const Tensor& query, const Tensor& keys, const Tensor& values) {
  const int64_t length = keys.size(0), width = keys.size(1);
  const auto q = query.accessor<double, 1>();
  const auto k = keys.accessor<double, 2>(), v = values.accessor<double, 2>();
  std::vector<double> weight(static_cast<size_t>(length));
  double sum = 0;
  for (int64_t j = 0; j < length; ++j) {
    double score = 0;
    for (int64_t c = 0; c < width; ++c) score += q[c] * k[j][c];
    sum += weight[static_cast<size_t>(j)] = std::exp(score / std::sqrt(static_cast<double>(width)));
  }
  Tensor out = at::zeros({width}, at::kDouble);
  auto o = out.accessor<double, 1>();
  for (int64_t j = 0; j < length; ++j)
    for (int64_t c = 0; c < width; ++c) o[c] += weight[static_cast<size_t>(j)] / sum * v[j][c];
  return out;
}

void attention(benchmark::State& state, const ModelConfig& m, int64_t images) {
  const int64_t rows = 2 * images, length = m.buffer_size + m.tokens(), width = m.attention_width() / m.heads;
  const Tensor q = randn({rows, m.heads, length, width}, 1), k = randn({rows, m.heads, length, width}, 2),
               v = randn({rows, m.heads, length, width}, 3);
  const auto run = [&] { return crescendo::attention(q, k, v, std::nullopt, {}); };

  const Tensor result = run();
  std::vector<Tensor> got, expected;
  for (int64_t i = 0; i < 16; ++i) {  // some queries of some heads
    const int64_t b = i % rows, h = i % m.heads, n = i * (length - 1) / 15;
    got.push_back(result[b][h][n]);
    expected.push_back(plain_row(q[b][h][n].to(at::kDouble), k[b][h].to(at::kDouble), v[b][h].to(at::kDouble)));
  }
  if (!accept(state, relative_l2(at::stack(got), at::stack(expected)), 1e-5)) return;
  const double flop = 4.0 * static_cast<double>(rows * m.heads) * static_cast<double>(length * length * width);
  time(state, flop, product_rate(length, width, length), run);
}

BENCHMARK_CAPTURE(attention, far_b_1_image, far_b(), 1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(attention, shapes_64_8_images, shapes_64(), 8)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
