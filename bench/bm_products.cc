// Products of linear layers, one thread and all: by packed weights, by weights in place, and by LibTorch, each checked
// against a product in fp64. script/bench products sets whole pictures beside them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <string>

#include "bench/support.h"
#include "crescendo/core/device.h"
#include "crescendo/kernels/cpu/packed_weight.h"

namespace crescendo::bench {
namespace {

struct Sizes {
  int64_t rows, depth, outputs;
};
// Of FAR-B's head and transformer, and of shapes-64's for one picture.
constexpr Sizes kSizes[] = {{512, 1024, 1024}, {512, 1024, 3072}, {640, 768, 3072}, {32, 256, 768}, {20, 192, 768}};

struct Way {
  const char* name;
  at::ScalarType type;
  std::optional<Products> how;  // else LibTorch's
  double tolerance;
};
constexpr Way kWays[] = {
    {"fp32/packed", at::kFloat, Products::kPacked, 1e-6},       {"fp32/in_place", at::kFloat, Products::kInPlace, 1e-6},
    {"fp32/libtorch", at::kFloat, std::nullopt, 1e-6},          {"bf16/packed", at::kBFloat16, Products::kPacked, 1e-2},
    {"bf16/in_place", at::kBFloat16, Products::kInPlace, 1e-2}, {"bf16/libtorch", at::kBFloat16, std::nullopt, 1e-2},
    {"int8/packed", at::kFloat, Products::kInt8, 5e-2}};

void product(benchmark::State& state, const Way& way, const Sizes& sizes, int64_t count) {
  const int64_t before = threads();
  at::set_num_threads(static_cast<int>(count));
  const Tensor x = randn({sizes.rows, sizes.depth}, 1).to(way.type),
               weight = randn({sizes.outputs, sizes.depth}, 2).to(way.type);
  Tensor out = at::empty({sizes.rows, sizes.outputs}, way.type);
  std::optional<PackedWeight> packed;
  if (way.how && PackedWeight::serves(weight, *way.how)) packed.emplace(weight, *way.how);
  const bool int8 = way.how == Products::kInt8;
  const RoundedRows rounded = int8 ? rounded_rows(x) : RoundedRows();
  const auto run = [&] {
    if (int8)
      packed->multiply(rounded, {}, out);
    else if (packed)
      packed->multiply(x, {}, out);
    else
      at::mm_out(out, x, weight.t());
    return out;
  };
  if (way.how && !packed)
    state.SkipWithError("no oneDNN");
  else if (accept(state, relative_l2(run(), at::mm(x.to(at::kDouble), weight.t().to(at::kDouble))), way.tolerance))
    time(state, 2.0 * static_cast<double>(sizes.rows * sizes.depth * sizes.outputs), 0, run);
  at::set_num_threads(static_cast<int>(before));
}

const bool registered = [] {
  set_up_torch(0);
  for (const Sizes& s : kSizes)
    for (const int64_t count : {int64_t{1}, threads()})
      for (const Way& way : kWays)
        benchmark::RegisterBenchmark(concat("products/", s.rows, "x", s.depth, "x", s.outputs, "/", count,
                                            count == 1 ? "_thread/" : "_threads/", way.name)
                                         .c_str(),
                                     [way, s, count](benchmark::State& state) { product(state, way, s, count); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace crescendo::bench
