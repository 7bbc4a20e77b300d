#include "crescendo/kernels/row_passes.h"

#include <ATen/Parallel.h>

#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cuda/passes.h"
#include "crescendo/kernels/row_bodies.h"

namespace crescendo::rows {

namespace {

// Numbers that are worth another thread: below, waiting for it costs more than it spares, the more so on a busy
// machine. A logarithm, a cosine and a block of Philox are worth many of the other passes' numbers.
template <class Pass>
constexpr int64_t kNumbersPerTask = 1 << 14;
template <>
constexpr int64_t kNumbersPerTask<Normals> = 1 << 10;

template <class Pass>
void run_on(const Pass& pass, c10::Device device, void (*one_row)(const Pass&, int64_t)) {
  if (device.is_cuda()) return cuda::run(pass);
  at::parallel_for(0, pass.rows, std::max<int64_t>(1, kNumbersPerTask<Pass> / std::max<int64_t>(1, pass.width)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r) one_row(pass, r);
                   });
}

}  // namespace

// Functions of one name cannot be compiled for several instruction sets when they are templates, hence a line each.
#define CRESCENDO_PASS(name, ...)                                                                 \
  namespace {                                                                                     \
  CRESCENDO_VECTORIZED void name(const __VA_ARGS__& pass, int64_t r) { row(pass, r, OneLane{}); } \
  }                                                                                               \
  void run(const __VA_ARGS__& pass, c10::Device device) { run_on<__VA_ARGS__>(pass, device, &name); }

CRESCENDO_PASS(condition_row, Condition)
CRESCENDO_PASS(enter_row, EnterBlock<float>)
CRESCENDO_PASS(enter_row_bf16, EnterBlock<c10::BFloat16>)
CRESCENDO_PASS(activate_row, Activate<float>)
CRESCENDO_PASS(activate_row_bf16, Activate<c10::BFloat16>)
CRESCENDO_PASS(leave_row, LeaveBlocks<float>)
CRESCENDO_PASS(leave_row_bf16, LeaveBlocks<c10::BFloat16>)
CRESCENDO_PASS(add_norm_row, AddNorm<float>)
CRESCENDO_PASS(add_norm_row_bf16, AddNorm<c10::BFloat16>)
CRESCENDO_PASS(guide_row, Guide)
CRESCENDO_PASS(ancestral_row, AncestralStep)
CRESCENDO_PASS(multistep_row, MultistepStep)
CRESCENDO_PASS(normals_row, Normals)

void run(const FinalLayer<float>& pass, c10::Device) { cuda::run(pass); }
void run(const FinalLayer<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }

bool supports_row_length(c10::Device device, int64_t width) {
  return device.is_cuda() && serves(device) && cuda::supports_row_length(width);
}

bool adds_norms(c10::Device device, int64_t width) { return device.is_cpu() || supports_row_length(device, width); }

bool serves(c10::Device device) { return device.is_cpu() || (device.is_cuda() && cuda::built()); }

}  // namespace crescendo::rows
