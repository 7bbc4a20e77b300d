// That a fault of a kernel is seen, and a right one works.
#include <gtest/gtest.h>

#include <string>

#include "cuda_runtime.h"

namespace {

constexpr unsigned kWarp = 32, kAllLanes = 0xffffffffu;

template <class Kernel>
std::string fault_of(unsigned blocks, unsigned threads, size_t shared_bytes, const Kernel& kernel) {
  return cuda_on_cpu::run(blocks, threads, shared_bytes, kernel) == cudaSuccess ? "" : cuda_on_cpu::last_fault();
}

TEST(Block, ThreadsExchangeWithinTheirWarp) {
  unsigned got[2][2 * kWarp] = {};
  EXPECT_EQ(fault_of(2, 2 * kWarp, 0,
                     [&] {
                       const unsigned mine = 100 * blockIdx.x + threadIdx.x;
                       got[blockIdx.x][threadIdx.x] = __shfl_xor_sync(kAllLanes, mine, 5);
                     }),
            "");
  for (unsigned b = 0; b < 2; ++b)
    for (unsigned t = 0; t < 2 * kWarp; ++t) EXPECT_EQ(got[b][t], 100 * b + (t ^ 5u));
}

TEST(Block, ABarrierStandsBetweenBeforeAndAfter) {
  constexpr unsigned kThreads = 3 * kWarp;
  for (const bool waits : {true, false}) {
    unsigned wrong = 0;
    EXPECT_EQ(fault_of(2, kThreads, 0,
                       [&] {
                         __shared__ unsigned written[kThreads];
                         written[threadIdx.x] = kThreads * blockIdx.x + threadIdx.x;
                         if (waits) __syncthreads();
                         const unsigned other = (threadIdx.x + kWarp) % kThreads;
                         wrong += written[other] != kThreads * blockIdx.x + other;
                       }),
              "");
    EXPECT_EQ(wrong == 0, waits);
  }
}

TEST(Block, ThreadsMayEndEarly) {
  unsigned ended = 0;
  EXPECT_EQ(fault_of(1, kWarp, 0,
                     [&] {
                       if (threadIdx.x % 2 == 0) return;
                       __syncthreads();
                       ++ended;
                     }),
            "");
  EXPECT_EQ(ended, kWarp / 2);
}

TEST(Block, FaultsAreTold) {
  const auto exchanges = [](int offset) { return [offset] { __shfl_xor_sync(kAllLanes, 1.0f, offset); }; };
  EXPECT_NE(fault_of(1, kWarp, 0,
                     [] {
                       if (threadIdx.x != 3) __shfl_xor_sync(kAllLanes, 1.0f, 1);
                     })
                .find("not all"),
            std::string::npos);
  EXPECT_NE(fault_of(1, kWarp / 2, 0, exchanges(1)).find("not all"), std::string::npos);
  EXPECT_NE(fault_of(1, kWarp, 0, exchanges(32)).find("beyond the warp"), std::string::npos);
  EXPECT_NE(fault_of(1, kWarp, 0, [] { __shfl_xor_sync(kAllLanes, 1.0f, threadIdx.x == 3 ? 2 : 1); }).find("distances"),
            std::string::npos);
  EXPECT_NE(fault_of(1, kWarp, 0, [] { __shfl_xor_sync(1u, 1.0f, 1); }), "");
  EXPECT_NE(fault_of(0, kWarp, 0, [] {}), "");
  EXPECT_NE(fault_of(1, 2048, 0, [] {}), "");
  EXPECT_NE(fault_of(1, kWarp, size_t{1} << 20, [] {}), "");
  EXPECT_EQ(fault_of(1, kWarp, 0, exchanges(1)), "");  // and what comes next is not touched by what came before
}

}  // namespace
