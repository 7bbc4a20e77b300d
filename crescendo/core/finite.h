// NaN and infinity, found where they enter: a single one in a weight or an input makes a black picture in the end.
#pragma once

#include <string_view>

#include "crescendo/core/tensor.h"

namespace crescendo {

// Whether every element of `t` is finite; waits for the device once. True of integers, and of meta tensors, which hold
// no data.
bool all_finite(const Tensor& t);

// Throws where the tensor `name` of `where`, a file or what stands for one, holds NaN or infinity.
void check_finite(const Tensor& t, std::string_view name, std::string_view where);
// The same for each of them.
void check_finite(const TensorMap& tensors, std::string_view where);

}  // namespace crescendo
