// kernels/row_passes.h and kernels/group_norm.h by the GPU's kernels, though the memory is the CPU's.
#include "crescendo/kernels/cuda/passes.h"

#include "crescendo/kernels/cuda/stream.h"
#include "crescendo/kernels/group_norm.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

void* current_cuda_stream() { return nullptr; }

namespace rows {

bool serves(c10::Device) { return cuda::built(); }
bool supports_row_length(c10::Device, int64_t width) { return cuda::supports_row_length(width); }
bool adds_norms(c10::Device, int64_t width) { return cuda::supports_row_length(width); }

void run(const Condition& pass, c10::Device) { cuda::run(pass); }
void run(const EnterBlock<float>& pass, c10::Device) { cuda::run(pass); }
void run(const EnterBlock<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }
void run(const Activate<float>& pass, c10::Device) { cuda::run(pass); }
void run(const Activate<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }
void run(const LeaveBlocks<float>& pass, c10::Device) { cuda::run(pass); }
void run(const LeaveBlocks<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }
void run(const FinalLayer<float>& pass, c10::Device) { cuda::run(pass); }
void run(const FinalLayer<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }
void run(const AddNorm<float>& pass, c10::Device) { cuda::run(pass); }
void run(const AddNorm<c10::BFloat16>& pass, c10::Device) { cuda::run(pass); }
void run(const Guide& pass, c10::Device) { cuda::run(pass); }
void run(const AncestralStep& pass, c10::Device) { cuda::run(pass); }
void run(const MultistepStep& pass, c10::Device) { cuda::run(pass); }
void run(const Normals& pass, c10::Device) { cuda::run(pass); }

}  // namespace rows

bool groups::serves(c10::Device) { return built(); }

}  // namespace crescendo
