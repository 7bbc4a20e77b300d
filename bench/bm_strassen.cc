// Products by Strassen's algorithm, on one thread, beside LibTorch's of the same sizes: `of_product` is the ratio.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "bench/support.h"
#include "crescendo/kernels/cpu/strassen.h"

namespace crescendo::bench {
namespace {

void product(benchmark::State& state) {
  const int64_t rows = state.range(0), depth = state.range(1), outputs = state.range(2);
  const Tensor x = randn({rows, depth}, 1), weight = randn({outputs, depth}, 2);
  Tensor out = at::empty({rows, outputs});
  const auto run = [&] {
    strassen::multiply(x, weight, {}, out);
    return out;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  if (accept(state, relative_l2(run(), at::mm(x.to(at::kDouble), weight.t().to(at::kDouble))), 3e-6))
    time(state, 2.0 * static_cast<double>(rows * depth) * static_cast<double>(outputs),
         product_rate(rows, depth, outputs), run);
  at::set_num_threads(threads);
}
BENCHMARK(product)
    ->Name("strassen")
    ->Args({256, 1024, 1024})
    ->Args({512, 1024, 1024})
    ->Args({512, 1024, 3072})
    ->Args({640, 768, 3072})
    ->Args({640, 3072, 768})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
