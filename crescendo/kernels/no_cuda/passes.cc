// What stands for the GPU's passes in a build without them.
#include "crescendo/kernels/cuda/passes.h"

#include "crescendo/core/check.h"

namespace crescendo::rows::cuda {

namespace {
[[noreturn]] void missing() { fail("this program was built without its CUDA kernels"); }
}  // namespace

bool built() { return false; }
bool supports_row_length(int64_t) { return false; }

void run(const Condition&) { missing(); }
void run(const EnterBlock<float>&) { missing(); }
void run(const EnterBlock<c10::BFloat16>&) { missing(); }
void run(const Activate<float>&) { missing(); }
void run(const Activate<c10::BFloat16>&) { missing(); }
void run(const LeaveBlocks<float>&) { missing(); }
void run(const LeaveBlocks<c10::BFloat16>&) { missing(); }
void run(const FinalLayer<float>&) { missing(); }
void run(const FinalLayer<c10::BFloat16>&) { missing(); }
void run(const AddNorm<float>&) { missing(); }
void run(const AddNorm<c10::BFloat16>&) { missing(); }
void run(const Guide&) { missing(); }
void run(const AncestralStep&) { missing(); }
void run(const MultistepStep&) { missing(); }
void run(const Normals&) { missing(); }

}  // namespace crescendo::rows::cuda
