#include "crescendo/diffusion/guidance.h"

#include <ATen/ATen.h>

#include "crescendo/kernels/row_passes.h"

namespace crescendo {

Denoised plain_output(const Tensor& output) {
  const int64_t channels = output.size(1) / 2;
  return {output.slice(1, 0, channels), output.slice(1, channels)};
}

Denoised guided_output(const Tensor& output, const Tensor& scale) {
  const auto rows_each = output.size(0) / 2, channels = output.size(1) / 2;
  Denoised conditional = plain_output(output.slice(0, 0, rows_each));
  if (!rows::serves(output.device()) || !output.is_contiguous()) {
    const Tensor uncond = output.slice(0, rows_each).slice(1, 0, channels);
    return {uncond + scale * (conditional.eps - uncond), conditional.variance_fraction};
  }
  float *cond = output.data_ptr<float>(), *uncond = cond + rows_each * 2 * channels;
  rows::run(rows::Guide{rows_each, channels, cond, uncond, 2 * channels, scale.data_ptr<float>(), cond, 2 * channels},
            output.device());
  return conditional;
}

}  // namespace crescendo
