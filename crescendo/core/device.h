// Where and in which precision tensors live, and the few places where LibTorch 1.13 and 2.x differ.
#pragma once

#include <string>

#include "crescendo/core/tensor.h"

namespace crescendo {

// "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
at::Device parse_device(const std::string& name);
// "fp32", "bf16" or "fp16".
at::ScalarType parse_dtype(const std::string& name);
std::string precision_name(at::ScalarType type);

// Sets LibTorch up for this process; every program calls it once, before any work. Threads: 0 means one per core, or as
// OMP_NUM_THREADS says (LibTorch starts with one). Convolutions of fp32 on a GPU no longer round to TF32.
void set_up_torch(int64_t threads);
int64_t threads();
std::string device_description(at::Device device);
// Whether this processor multiplies in bf16; others emulate it, slower than fp32.
bool cpu_has_bf16();

}  // namespace crescendo
