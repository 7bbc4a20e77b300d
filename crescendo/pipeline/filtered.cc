#include "crescendo/pipeline/filtered.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "crescendo/core/check.h"

namespace crescendo {

std::vector<Image> filtered_pictures(const KlVae& vae, const Image& image, FilterType filter, int64_t levels) {
  const at::NoGradGuard no_grad;
  const int64_t factor = vae.config().factor(), height = image.height / factor, width = image.width / factor;
  check_usage(levels >= 1 && levels <= std::min(height, width), "levels must be in 1..", std::min(height, width),
              " for a picture of ", image.width, " x ", image.height, " pixels, whose latent has ", width, " x ",
              height, " cells, got ", levels, "; use a larger picture or fewer `levels`");
  const Lowpass lowpass(height, width, levels, filter, vae.device());
  const Tensor latent = posterior_mean(vae.encode_moments(image_to_tensor(image).unsqueeze(0)));  // (1, C, H, W)
  std::vector<Image> pictures;
  for (int64_t level = 1; level <= levels; ++level)
    pictures.push_back(tensor_to_image(vae.decode(lowpass(latent, level))));
  return pictures;
}

}  // namespace crescendo
