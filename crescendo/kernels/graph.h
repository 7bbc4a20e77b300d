// Work that is put down once and run many times: a CUDA graph, which starts thousands of small kernels with one call.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace crescendo {

class Graph {
 public:
  virtual ~Graph() = default;
  // Calls `work` once to put down what it asks of the device, without doing it. It must not wait for the device, and
  // what it reads and writes must stay where it is; all that it asked for must have been done before at least once,
  // because libraries set themselves up at their first use. It must own what it needs: a stand-in for a graph
  // calls it again.
  virtual void capture(const std::function<void()>& work) = 0;
  // Does what was put down, on the current stream.
  virtual void replay() = 0;
};

using GraphFactory = std::function<std::unique_ptr<Graph>(c10::Device)>;

// Makes null where the device has no graphs: on a CPU, and in a build without CUDA. The graphs that one factory makes
// share the memory of what they hold only while they work, so no two of them may be replayed at the same time.
GraphFactory device_graphs();

}  // namespace crescendo
