// What of CUDA needs LibTorch: its current stream, its allocator's graphs and peak.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

#include "crescendo/kernels/cuda_stream.h"
#include "crescendo/kernels/device_memory.h"
#include "crescendo/kernels/graph.h"

namespace crescendo {

namespace {

class CudaGraph : public Graph {
 public:
  void capture(const std::function<void()>& work) override {
    // Not on the default stream, which cannot be captured; what was asked for so far comes first.
    const c10::cuda::CUDAStream before = c10::cuda::getCurrentCUDAStream(), own = c10::cuda::getStreamFromPool();
    before.synchronize();
    {
      const c10::cuda::CUDAStreamGuard guard(own);
      graph_.capture_begin();
      std::exception_ptr fault;
      try {
        work();
      } catch (...) {
        fault = std::current_exception();
      }
      try {
        graph_.capture_end();  // in any case, or nothing works on this device any more
      } catch (...) {
        if (!fault) fault = std::current_exception();
      }
      if (fault) std::rethrow_exception(fault);
    }
  }
  void replay() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

}  // namespace

void* current_cuda_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

std::unique_ptr<Graph> device_graph(c10::Device device) {
  if (!device.is_cuda()) return nullptr;
  return std::make_unique<CudaGraph>();
}

int64_t peak_device_bytes(c10::Device device) {
  if (!device.is_cuda()) return 0;
  const auto index = device.has_index() ? device.index() : c10::cuda::current_device();
  return c10::cuda::CUDACachingAllocator::getDeviceStats(index).allocated_bytes[0].peak;  // 0: of all pools
}

}  // namespace crescendo
