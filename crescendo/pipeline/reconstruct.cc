#include "crescendo/pipeline/reconstruct.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace crescendo {

Reconstruction reconstruct(const KlVae& vae, const Image& image) {
  const at::NoGradGuard no_grad;
  const Tensor moments = vae.encode_moments(image_to_tensor(image).unsqueeze(0));  // (1, 2C, h, w)
  Reconstruction out{tensor_to_image(vae.decode(posterior_mean(moments))), 0};
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    const double d = static_cast<double>(image.rgb[i]) - static_cast<double>(out.decoded.rgb[i]);
    out.mean_square_error += d * d;
  }
  out.mean_square_error /= static_cast<double>(image.rgb.size());
  return out;
}

double byte_psnr_db(double mean_square_error) {
  return 10 * std::log10(255.0 * 255.0 / std::max(mean_square_error, 1e-9));
}

}  // namespace crescendo
