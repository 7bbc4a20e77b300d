// The FID Inception network: batches on one thread, and one batch per thread.
#include <ATen/ATen.h>

#include "bench/support.h"
#include "crescendo/core/workers.h"
#include "crescendo/metrics/inception_input.h"
#include "crescendo/metrics/inception_network.h"
#include "crescendo/metrics/test_support.h"

namespace crescendo::bench {
namespace {

constexpr double kFlopPerImage = 11.42e9;

const InceptionNetwork& network(at::ScalarType dtype) {
  static const TensorMap weights = formula_inception();
  static const InceptionNetwork fp32(weights, at::kFloat, at::kCPU, "bench");
  static const InceptionNetwork bf16(weights, at::kBFloat16, at::kCPU, "bench");
  static const InceptionNetwork fp64(weights, at::kDouble, at::kCPU, "bench");
  return dtype == at::kFloat ? fp32 : dtype == at::kDouble ? fp64 : bf16;
}

// In double and by LibTorch's plain operations.
bool checked(benchmark::State& state, at::ScalarType dtype) {
  const Tensor x = randn({1, 3, 107, 107}, 3);
  return accept(state, relative_l2(network(dtype)(x).pool, network(at::kDouble)(x).pool),
                dtype == at::kFloat ? 5e-6 : 0.1);
}

void inception(benchmark::State& state, at::ScalarType dtype) {
  if (!checked(state, dtype)) return;
  const int64_t batch = state.range(0);
  const Tensor x = randn({batch, 3, kInceptionSide, kInceptionSide}, 4);
  network(dtype)(x);
  time(state, kFlopPerImage * static_cast<double>(batch), product_rate(1225, 576, 192),
       [&] { return network(dtype)(x).pool; });
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK_CAPTURE(inception, fp32, at::kFloat)->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inception, bf16, at::kBFloat16)->Arg(8)->Unit(benchmark::kMillisecond);

// As evaluation runs: each thread has a batch of its own.
void inception_batch_per_thread(benchmark::State& state) {
  if (!checked(state, at::kFloat)) return;
  Workers workers(state.range(0));
  const Tensor x = randn({8, 3, kInceptionSide, kInceptionSide}, 4);
  time(state, kFlopPerImage * static_cast<double>(8 * workers.count()), 0, [&] {
    workers.run([&](int64_t) { benchmark::DoNotOptimize(network(at::kFloat)(x).pool); });
    return 0;
  });
  state.SetItemsProcessed(state.iterations() * 8 * workers.count());
}
BENCHMARK(inception_batch_per_thread)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

void inception_prepare(benchmark::State& state, InceptionPreset preset) {
  const Image image = formula_picture(256, 256);
  for (auto _ : state) benchmark::DoNotOptimize(inception_input(image, preset));
}
BENCHMARK_CAPTURE(inception_prepare, tf, InceptionPreset::kTf)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inception_prepare, pytorch_fid, InceptionPreset::kPytorchFid)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inception_prepare, clean, InceptionPreset::kClean)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace crescendo::bench
