// Helpers over TensorMap (name -> tensor), the form in which every file format of this folder gives and takes weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "crescendo/core/tensor.h"

namespace crescendo {

// The tensor called `name`; the error says that `where` lacks it, and names the nearest one that is there.
const Tensor& get_tensor(const TensorMap& tensors, const std::string& name, std::string_view where);

// The tensors whose names begin with `prefix`, without it ("ema." -> the weights of the average).
TensorMap with_prefix_removed(const TensorMap& tensors, std::string_view prefix);

// Number of elements and bytes over all tensors.
int64_t total_numel(const TensorMap& tensors);
int64_t total_bytes(const TensorMap& tensors);

// "float32 [16, 4, 4]", for listings and messages.
std::string describe_tensor(const Tensor& tensor);
// "float32", "bfloat16", "bool": the names PyTorch prints.
std::string dtype_name(at::ScalarType dtype);

}  // namespace crescendo
