// What LibTorch's allocator knows of a GPU's memory.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace crescendo {

// Bytes that tensors on `device` took at most at one time since the program began. 0 on a CPU, where the process's own
// peak says it, and in a build without CUDA.
int64_t peak_device_bytes(c10::Device device);

}  // namespace crescendo
