// Work that is captured once and replayed many times: a CUDA graph launches thousands of small kernels with one call.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace crescendo {

class Graph {
 public:
  virtual ~Graph() = default;
  // Calls `work` once and captures its kernels without running them. `work` must not synchronize with the device; the
  // memory that it reads and writes must stay in place; it must have run once before, because libraries initialize at
  // their first use. It must own what it refers to: a fallback without graphs calls it at every replay.
  virtual void capture(const std::function<void()>& work) = 0;
  // Runs the captured work on the current stream.
  virtual void replay() = 0;
};

using GraphFactory = std::function<std::unique_ptr<Graph>(c10::Device)>;

// The factory returns null where the device has no graphs: on a CPU, and in a build without CUDA. Graphs of one factory
// share one pool for temporary memory, so no two of them may be replayed at the same time.
GraphFactory device_graphs();

}  // namespace crescendo
