// What of CUDA needs LibTorch: its streams, its allocator's graphs and peak.
#include "crescendo/kernels/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>
#include <optional>

#include "crescendo/kernels/cuda/stream.h"
#include "crescendo/kernels/device_memory.h"

namespace crescendo {

namespace {

class CudaGraph : public Graph {
 public:
  explicit CudaGraph(at::cuda::MempoolId_t pool) : pool_(pool) {}
  void capture(const std::function<void()>& work) override {
    // Not on the default stream, which cannot be captured; what was asked for so far comes first.
    const c10::cuda::CUDAStream before = c10::cuda::getCurrentCUDAStream(), own = c10::cuda::getStreamFromPool();
    before.synchronize();
    {
      const c10::cuda::CUDAStreamGuard guard(own);
      graph_.capture_begin(pool_);
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
  at::cuda::MempoolId_t pool_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

void* current_cuda_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

GraphFactory device_graphs() {
  const auto pool = std::make_shared<std::optional<at::cuda::MempoolId_t>>();  // of all copies of the factory
  return [pool](c10::Device device) -> std::unique_ptr<Graph> {
    if (!device.is_cuda()) return nullptr;
    if (!*pool) *pool = at::cuda::graph_pool_handle();
    return std::make_unique<CudaGraph>(**pool);
  };
}

int64_t peak_device_bytes(c10::Device device) {
  if (!device.is_cuda()) return 0;
  const auto index = device.has_index() ? device.index() : c10::cuda::current_device();
  return c10::cuda::CUDACachingAllocator::getDeviceStats(index).allocated_bytes[0].peak;  // 0: of all pools
}

}  // namespace crescendo
