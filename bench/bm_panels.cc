// Products by packed panels: every set of instructions that this machine has, on one thread, beside LibTorch's product
// in fp32.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <string>

#include "bench/support.h"
#include "crescendo/kernels/cpu/panels.h"

namespace crescendo::bench {
namespace {

template <class T>
Tensor packed(const Tensor& weight) {
  const int64_t outputs = weight.size(0), depth = weight.size(1);
  const Tensor out = at::empty({panels::packed_size<T>(outputs, depth)}, weight.options());
  panels::pack(weight.data_ptr<T>(), depth, 1, outputs, depth, out.data_ptr<T>());
  return out;
}

// x (M, K) and weight (N, K), of whole numbers that all three types hold.
template <class T>
void product(benchmark::State& state, const panels::Way<T, float>& way) {
  using First = typename panels::First<T>::Type;
  const int64_t rows = state.range(0), depth = state.range(1), outputs = state.range(2);
  const Tensor x = at::randint(0, 128, {rows, depth}, at::kFloat),
               w = at::randint(-127, 128, {outputs, depth}, at::kFloat),
               first = x.to(c10::CppTypeToScalarType<First>::value),
               second = packed<T>(w.to(c10::CppTypeToScalarType<T>::value)), out = at::empty({rows, outputs}),
               ones = at::ones({std::max(rows, outputs)}), zeros = at::zeros({std::max(rows, outputs)}, at::kInt);
  const panels::Product<T, float> p{
      rows,
      depth,
      outputs,
      first.data_ptr<First>(),
      depth,
      second.data_ptr<T>(),
      nullptr,
      0,
      out.data_ptr<float>(),
      outputs,
      {ones.data_ptr<float>(), zeros.data_ptr<int32_t>(), ones.data_ptr<float>(), zeros.data_ptr<int32_t>()}};
  const auto run = [&] {
    way.multiply(p);
    return out;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  if (accept(state, relative_l2(run(), at::mm(x.to(at::kDouble), w.t().to(at::kDouble))), 1e-6))
    time(state, 2.0 * static_cast<double>(rows * depth) * static_cast<double>(outputs),
         product_rate(rows, depth, outputs), run);
  at::set_num_threads(threads);
}

template <class T>
void add(const std::string& type) {
  for (const auto& way : panels::ways<T, float>())
    benchmark::RegisterBenchmark(("panels/" + type + "_by_" + way.name).c_str(),
                                 [way](benchmark::State& state) { product<T>(state, way); })
        ->Args({16, 256, 768})
        ->Args({64, 1024, 3072})
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
}

const bool kAdded = [] {
  add<float>("fp32");
  add<c10::BFloat16>("bf16");
  add<int8_t>("int8");
  return true;
}();

}  // namespace
}  // namespace crescendo::bench
