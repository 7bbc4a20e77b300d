// The head's output as a solver takes it, with classifier-free guidance where it is asked for (paper, section 4.2).
#pragma once

#include "crescendo/diffusion/solvers.h"

namespace crescendo {

// The head's output (M, 2C) as eps and variance fraction, (M, C) each.
Denoised plain_output(const Tensor& output);
// The head's output (2M, 2C), conditional rows first, guided: eps = u + s (c - u), and the variance fraction of the
// conditional rows, (M, C) each. s is one fp32 element on the same device. The output is used up: eps may be written
// into it.
Denoised guided_output(const Tensor& output, const Tensor& scale);

}  // namespace crescendo
