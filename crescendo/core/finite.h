// NaN and infinity, found where they enter: one such number in a weight or an input becomes a black picture in the end.
#pragma once

#include <string_view>

#include "crescendo/core/tensor.h"

namespace crescendo {

// Whether every number of `t` is finite; waits for the device once. True of whole numbers and of tensors that hold
// nothing (LibTorch's meta device).
bool all_finite(const Tensor& t);

// Throws where the tensor `name` of `where`, a file or what stands for one, holds NaN or infinity.
void check_finite(const Tensor& t, std::string_view name, std::string_view where);
// The same for each of them.
void check_finite(const TensorMap& tensors, std::string_view where);

}  // namespace crescendo
