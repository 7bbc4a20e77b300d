// Numbers for the tests of measures.
#pragma once

#include <ATen/ATen.h>

#include "crescendo/core/rng.h"
#include "crescendo/core/tensor.h"

namespace crescendo::test {

// Rows of standard normal numbers: (rows, dim) fp32.
inline Tensor normal(uint64_t seed, int64_t rows, int64_t dim) {
  Tensor out = at::empty({rows, dim}, at::kFloat);
  Rng(seed, Draw::kOther).fill_normal({out.data_ptr<float>(), static_cast<size_t>(out.numel())});
  return out;
}

}  // namespace crescendo::test
