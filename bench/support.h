// What the benchmarks share: sizes, random weights, and rates beside the machine's own.
//
// Every benchmark compares its result with a plain statement of the same function before it is timed, and is skipped
// with an error where they differ.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>

#include "crescendo/core/tensor.h"
#include "crescendo/model/config.h"

namespace crescendo::bench {

ModelConfig far_b();      // as published: 256 tokens of 16 channels, width 768, head 6 x 1024
ModelConfig shapes_64();  // the model in the box (configs/shapes-64.json): 16 tokens of 48, width 192, head 3 x 256

// N(0, 1), the same at every call.
Tensor randn(at::IntArrayRef shape, uint64_t seed);

// Values for parameters that are known by name and shape: none of them zero, activations of order one.
TensorMap random_weights(const std::vector<std::pair<std::string, Tensor>>& outline);

// ||a - b|| / ||b|| in double.
double relative_l2(const Tensor& a, const Tensor& expected);
// False, with the benchmark marked as failed, where `error` is not below `tolerance`.
bool accept(benchmark::State& state, double error, double tolerance);

// FLOP/s of LibTorch's own product (rows, inner) x (inner, columns), the best of a few.
double product_rate(int64_t rows, int64_t inner, int64_t columns);

// Times `work` and reports its rate; with `product_flops` (FLOP/s), also the share of it that was reached.
template <class Work>
void time(benchmark::State& state, double flop, double product_flops, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) benchmark::DoNotOptimize(work());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double rate = flop * static_cast<double>(state.iterations()) / seconds.count();
  state.counters["GFLOP/s"] = rate / 1e9;
  if (product_flops <= 0) return;
  state.counters["product_GFLOP/s"] = product_flops / 1e9;
  state.counters["of_product"] = rate / product_flops;
}

}  // namespace crescendo::bench
