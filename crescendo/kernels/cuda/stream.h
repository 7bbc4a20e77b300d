// The seam between kernels, which know CUDA, and LibTorch, which knows the stream.
#pragma once

namespace crescendo {

void* current_cuda_stream();  // a cudaStream_t

}  // namespace crescendo
