// In what a training computes its products: fp32, bf16 (mixed: weights and sums stay fp32) or auto.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace crescendo {

// Wrong usage unless `precision` is "fp32", "bf16" or "auto"; `option` is what the user calls it.
void check_precision(const std::string& option, const std::string& precision);
// auto: bf16 on a GPU and on a processor that multiplies in it, fp32 elsewhere. Warns where bf16 would be emulated.
at::ScalarType training_dtype(const std::string& precision, at::Device device);

}  // namespace crescendo
