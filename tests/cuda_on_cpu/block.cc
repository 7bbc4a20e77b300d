// A block's threads, each with a stack of its own, on one thread of the CPU.
//
// A warp goes on as far as it can, exchanges among its threads included, before another one begins, and the warps come
// in the one order and in the other by turns: where a barrier is missing, something is read too early or too late.
#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

constinit thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

// The memory whose size a launch names, by the name that the kernel gives it.
namespace crescendo::rows::cuda {
constexpr size_t kMostSharedBytes = 48 << 10;
extern thread_local float4 normed_rows[kMostSharedBytes / sizeof(float4)];
thread_local float4 normed_rows[kMostSharedBytes / sizeof(float4)];
}  // namespace crescendo::rows::cuda

namespace cuda_on_cpu {

namespace {

constexpr unsigned kWarp = 32, kMostThreads = 1024;
constexpr size_t kStackBytes = 64 << 10;

enum class At { kWork, kExchange, kBarrier, kEnd };

// Begins by a context of the system's, once, and then changes places by jumps, which spare its calls.
struct Thread {
  std::unique_ptr<char[]> stack;
  void* frames = nullptr;
  jmp_buf place;
  At at;
  uint64_t given;
  unsigned offset;
};

thread_local std::vector<Thread> threads;
thread_local Thread* current = nullptr;
thread_local jmp_buf scheduler;
thread_local void* scheduler_frames = nullptr;
thread_local const void* scheduler_stack = nullptr;
thread_local size_t scheduler_stack_bytes = 0;
thread_local const std::function<void()>* work = nullptr;
thread_local std::string fault;

// Around every change of the stack, for the address sanitizer, which keeps `frames` of a stack that is left.
void leaves_for([[maybe_unused]] void** frames, [[maybe_unused]] const void* stack, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(frames, stack, bytes);
#endif
}
void arrived([[maybe_unused]] void* frames, [[maybe_unused]] const void** stack, [[maybe_unused]] size_t* bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(frames, stack, bytes);
#endif
}

void wait(At at) {
  current->at = at;
  leaves_for(&current->frames, scheduler_stack, scheduler_stack_bytes);
  if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
  arrived(current->frames, nullptr, nullptr);
}

void live() {
  arrived(nullptr, &scheduler_stack, &scheduler_stack_bytes);
  for (;;) {
    (*work)();
    wait(At::kEnd);
  }
}

void resume(unsigned t) {
  current = &threads[t];
  threadIdx.x = t;
  const bool is_new = !current->stack;
  if (is_new) current->stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  leaves_for(&scheduler_frames, current->stack.get(), kStackBytes);
  if (_setjmp(scheduler) != 0) return arrived(scheduler_frames, nullptr, nullptr);
  if (!is_new) _longjmp(current->place, 1);
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = current->stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, live, 0);
  setcontext(&context);
}

// Whether all of the warp's threads had come to an exchange, and now have what they asked for.
bool exchanged(unsigned first) {
  unsigned waiting = 0;
  for (unsigned t = first; t < first + kWarp && t < blockDim.x; ++t) waiting += threads[t].at == At::kExchange;
  if (waiting == 0) return false;
  if (waiting < kWarp) throw std::runtime_error("an exchange that not all of a warp's threads come to");
  uint64_t given[kWarp];
  for (unsigned l = 0; l < kWarp; ++l) given[l] = threads[first + l].given;
  for (unsigned l = 0; l < kWarp; ++l) {
    Thread& t = threads[first + l];
    if (t.offset != threads[first].offset || t.offset >= kWarp)
      throw std::runtime_error("an exchange over different distances, or beyond the warp");
    t.given = given[l ^ t.offset];
    t.at = At::kWork;
  }
  return true;
}

void advance(unsigned first) {
  do {
    for (unsigned t = first; t < first + kWarp && t < blockDim.x; ++t)
      if (threads[t].at == At::kWork) resume(t);
  } while (exchanged(first));
}

// Whether any thread goes on, all that have not ended having come to the barrier.
bool past_barrier() {
  bool any = false;
  for (unsigned t = 0; t < blockDim.x; ++t)
    if (threads[t].at == At::kBarrier) threads[t].at = At::kWork, any = true;
  return any;
}

void run_block() {
  if (threads.size() < blockDim.x) threads.resize(blockDim.x);
  for (unsigned t = 0; t < blockDim.x; ++t) threads[t].at = At::kWork;
  const unsigned warps = (blockDim.x + kWarp - 1) / kWarp;
  bool upwards = blockIdx.x % 2 == 0;
  do {
    for (unsigned w = 0; w < warps; ++w) advance((upwards ? w : warps - 1 - w) * kWarp);
    upwards = !upwards;
  } while (past_barrier());
}

}  // namespace

cudaError_t run(unsigned blocks, unsigned block_threads, size_t shared_bytes, const std::function<void()>& thread) {
  try {
    if (blocks == 0 || block_threads == 0 || block_threads > kMostThreads ||
        shared_bytes > crescendo::rows::cuda::kMostSharedBytes)
      throw std::runtime_error("no or too many blocks, threads or bytes");
    gridDim.x = blocks;
    blockDim.x = block_threads;
    work = &thread;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) run_block();
    return cudaSuccess;
  } catch (const std::runtime_error& e) {
    fault = e.what();
    threads.clear();  // some stand in the middle of the kernel
    return cudaErrorLaunchFailure;
  }
}

const char* last_fault() { return fault.c_str(); }

uint64_t exchange(unsigned mask, uint64_t given, unsigned offset) {
  current->given = given;
  current->offset = mask == 0xffffffffu ? offset : kWarp;  // an exchange of fewer is none that these kernels have
  wait(At::kExchange);
  return current->given;
}

}  // namespace cuda_on_cpu

void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::At::kBarrier); }
