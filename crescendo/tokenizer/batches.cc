#include "crescendo/tokenizer/batches.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>

#include "crescendo/core/check.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/tokenizer/tiles.h"

namespace crescendo {

namespace {

constexpr int64_t kBatch = 8;

Tensor in_batches(const Tensor& all, const char* title, const std::function<Tensor(const Tensor&)>& compute) {
  check(all.dim() > 0 && all.size(0) > 0, title, " needs a tensor with at least one row, got ", all.sizes());
  const at::NoGradGuard no_grad;
  Progress progress(title);
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < all.size(0); first += kBatch) {
    const Tensor some = all.slice(0, first, std::min(all.size(0), first + kBatch));
    parts.push_back(compute(some).to(at::kCPU));
    if (!all_finite(parts.back()))
      fail(title, " made NaN or infinity of row ", first, " and those after it, whose largest value is ",
           some.abs().max().item<double>(), "; values about as large as 1 are wanted");
    progress.update(static_cast<double>(std::min(all.size(0), first + kBatch)) / static_cast<double>(all.size(0)),
                    concat(std::min(all.size(0), first + kBatch), " of ", all.size(0)));
    check(!interrupted(), "stopped");
  }
  return at::cat(parts);
}

}  // namespace

Tensor encode_in_batches(const KlVae& vae, const Tensor& images) {
  return in_batches(images, "encode", [&](const Tensor& x) { return vae.encode_moments(x); });
}

Tensor encode_in_batches(const VqVae& vae, const Tensor& images) {
  return in_batches(images, "encode", [&](const Tensor& x) { return vae.encode(x.to(vae.device())); });
}

Tensor decode_in_batches(const VqVae& vae, const Tensor& codes) {
  return in_batches(codes, "decode", [&](const Tensor& c) { return vae.decode(c); });
}

Tensor decode_in_batches(const KlVae& vae, const Tensor& latents, int64_t tile) {
  const auto decode_whole = [&](const Tensor& z) { return vae.decode(z); };
  return in_batches(latents, "decode", [&](const Tensor& z) {
    return tile == 0 ? decode_whole(z) : decode_in_tiles(z, {tile, tile / 4}, vae.config().factor(), decode_whole);
  });
}

}  // namespace crescendo
