// The passes on a GPU, on LibTorch's current stream. Without nvcc, no_cuda/passes.cc replaces them and throws.
#pragma once

#include "crescendo/kernels/row_passes.h"

namespace crescendo::rows::cuda {

bool built();
bool supports_row_length(int64_t width);  // whether the vectorized kernels take such rows

void run(const Condition& pass);
void run(const EnterBlock<float>& pass);
void run(const EnterBlock<c10::BFloat16>& pass);
void run(const Activate<float>& pass);
void run(const Activate<c10::BFloat16>& pass);
void run(const LeaveBlocks<float>& pass);
void run(const LeaveBlocks<c10::BFloat16>& pass);
void run(const FinalLayer<float>& pass);
void run(const FinalLayer<c10::BFloat16>& pass);
void run(const AddNorm<float>& pass);
void run(const AddNorm<c10::BFloat16>& pass);
void run(const Guide& pass);
void run(const AncestralStep& pass);
void run(const MultistepStep& pass);
void run(const Normals& pass);

}  // namespace crescendo::rows::cuda
