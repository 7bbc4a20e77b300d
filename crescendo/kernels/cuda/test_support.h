// What the tests of kernels share. They go without LibTorch: so that they can be built, and say what they should, where
// there is no GPU, and be run where there is one.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "crescendo/core/philox.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo::test {

inline constexpr unsigned char kPoison = 0xff;  // no number, in any type
inline constexpr size_t kGuard = 64;            // bytes behind what a kernel may write

inline int faults = 0;
inline void expect(bool right, const std::string& what) {
  if (right) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++faults;
}

// Memory that both sides see, with a guard behind it.
template <class T>
struct Shared {
  explicit Shared(size_t n) : size(n) {
    if (cudaMallocManaged(&data, n * sizeof(T) + kGuard) != cudaSuccess) throw std::runtime_error("no memory");
    poison();
  }
  ~Shared() { cudaFree(data); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  void poison() { std::memset(data, kPoison, size * sizeof(T) + kGuard); }
  bool guard_holds() const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(data) + size * sizeof(T);
    for (size_t i = 0; i < kGuard; ++i)
      if (bytes[i] != kPoison) return false;
    return true;
  }
  T* data = nullptr;
  size_t size;
};

// Normal numbers, the same each time.
template <class T>
void fill(Shared<T>& s, uint32_t stream, float deviation = 1.0f, float mean = 0.0f) {
  for (size_t i = 0; i < s.size; i += 2) {
    const PhiloxBlock b = philox(philox_stream(1, stream, 0, 0), i);
    const NormalPair n = box_muller(b.word[0], b.word[1]);
    rows::store(s.data[i], mean + n.first * deviation);
    if (i + 1 < s.size) rows::store(s.data[i + 1], mean + n.second * deviation);
  }
}

inline void wait_for_the_device() {
  if (cudaDeviceSynchronize() != cudaSuccess) throw std::runtime_error("the kernel failed");
}

// What main() returns: `check` where there is a GPU; elsewhere `one_kernel` must say that there is none.
template <class Check, class Kernel>
int run(const Check& check, const Kernel& one_kernel) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) {
    check();
    return faults == 0 ? 0 : 1;
  }
  try {
    one_kernel();
  } catch (const std::runtime_error& e) {
    std::printf("no GPU here, and a kernel says so: %s\n", e.what());
    return std::string(e.what()).find("CUDA kernel: ") == 0 ? 0 : 1;
  }
  std::printf("FAILED: a kernel ran without a GPU\n");
  return 1;
}

}  // namespace crescendo::test
