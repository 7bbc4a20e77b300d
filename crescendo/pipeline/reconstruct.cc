#include "crescendo/pipeline/reconstruct.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace crescendo {

namespace {

// `through` maps (1, 3, H, W) to the same shape.
template <class Through>
Reconstruction compare(const Image& image, const Through& through) {
  const at::NoGradGuard no_grad;
  Reconstruction out{tensor_to_image(through(image_to_tensor(image).unsqueeze(0))), 0};
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    const double d = static_cast<double>(image.rgb[i]) - static_cast<double>(out.decoded.rgb[i]);
    out.mean_square_error += d * d;
  }
  out.mean_square_error /= static_cast<double>(image.rgb.size());
  return out;
}

}  // namespace

Reconstruction reconstruct(const KlVae& vae, const Image& image) {
  return compare(image, [&](const Tensor& x) { return vae.decode(posterior_mean(vae.encode_moments(x))); });
}

Reconstruction reconstruct(const VqVae& vae, const Image& image) {
  return compare(image, [&](const Tensor& x) { return vae.decode(vae.encode(x.to(vae.device()))); });
}

double byte_psnr_db(double mean_square_error) {
  return 10 * std::log10(255.0 * 255.0 / std::max(mean_square_error, 1e-9));
}

}  // namespace crescendo
