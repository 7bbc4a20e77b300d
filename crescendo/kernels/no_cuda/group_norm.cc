// What stands for the GPU's group normalisation in a build without it.
#include "crescendo/kernels/group_norm.h"

#include <c10/util/BFloat16.h>

#include "crescendo/core/check.h"

namespace crescendo::groups {

bool built() { return false; }

template <class In, class Out>
void run(const GroupNormPass<In, Out>&) {
  fail("this program was built without its CUDA kernels");
}

template void run(const GroupNormPass<float, float>&);
template void run(const GroupNormPass<float, c10::BFloat16>&);
template void run(const GroupNormPass<c10::BFloat16, float>&);
template void run(const GroupNormPass<c10::BFloat16, c10::BFloat16>&);

}  // namespace crescendo::groups
