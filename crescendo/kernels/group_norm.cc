#include "crescendo/kernels/group_norm.h"

namespace crescendo::groups {

bool serves(c10::Device device) { return device.is_cuda() && built(); }

}  // namespace crescendo::groups
