#include "crescendo/train/latents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/core/rng.h"
#include "crescendo/io/safetensors.h"

namespace crescendo {

namespace {

// A fingerprint of the tokenizer's weights: enough to tell a retrained one from the one a cache was made with.
std::string fingerprint(const KlVae& vae) {
  double sum = 0;
  for (const auto& [name, p] : vae.params().items())
    sum += p.to(at::kDouble).abs().sum().item<double>() * static_cast<double>(name.size());
  return concat(value_to_json(vae.config()).dump(), " ", std::hexfloat, sum);
}

}  // namespace

int64_t tokenizer_batch(int64_t side) { return std::clamp<int64_t>(32 * 64 * 64 / (side * side), 1, 32); }

EncodedSet encode_dataset(const Dataset& dataset, const std::string& spec, const KlVae& vae, bool flip,
                          const std::filesystem::path& cache_file) {
  const std::map<std::string, std::string> identity{{"format", "crescendo-latents-1"},
                                                    {"data", spec},
                                                    {"size", std::to_string(dataset.size())},
                                                    {"tokenizer", fingerprint(vae)},
                                                    {"flip", flip ? "yes" : "no"}};
  const int64_t side = dataset.get(0).image.size(1);
  if (!cache_file.empty() && std::filesystem::exists(cache_file)) {
    Safetensors file = read_safetensors(cache_file);
    const Tensor& moments = file.tensors["moments"];
    if (file.metadata == identity && moments.defined() && moments.size(2) * vae.config().factor() == side) {
      log_info(concat("latents of ", dataset.size(), " images read from ", cache_file.string()));
      return {file.tensors["moments"], flip ? file.tensors["moments_flip"] : Tensor(), file.tensors["labels"]};
    }
  }
  const at::NoGradGuard no_grad;
  const int64_t n = dataset.size();
  const int64_t batch = tokenizer_batch(side);
  EncodedSet set;
  set.labels = at::empty({n}, at::kLong);
  Progress bar("encoding");
  for (int64_t i = 0; i < n; i += batch) {
    check(!interrupted(), "stopped while encoding the data set; nothing was kept");
    std::vector<int64_t> indices(static_cast<size_t>(std::min(batch, n - i)));
    std::iota(indices.begin(), indices.end(), i);
    const LabelledImages images = dataset.batch(indices);
    set.labels.slice(0, i, i + images.labels.size(0)).copy_(images.labels);
    const Tensor x = images.images.to(vae.device()).to(at::kFloat).div(127.5).sub(1);  // (B, 3, H, W)
    const auto put = [&](Tensor& all, const Tensor& moments) {
      if (!all.defined()) all = at::empty({n, moments.size(1), moments.size(2), moments.size(3)}, at::kFloat);
      all.slice(0, i, i + moments.size(0)).copy_(moments);
    };
    put(set.moments, vae.encode_moments(x));
    if (flip) put(set.moments_flip, vae.encode_moments(x.flip({3})));
    bar.update(static_cast<double>(std::min(n, i + batch)) / static_cast<double>(n),
               concat(std::min(n, i + batch), " of ", n, " images"));
  }
  bar.finish(concat(n, " images encoded to latents ", set.moments.size(1) / 2, " x ", set.moments.size(2), " x ",
                    set.moments.size(3)));
  if (!cache_file.empty()) {
    TensorMap tensors{{"moments", set.moments}, {"labels", set.labels}};
    if (flip) tensors["moments_flip"] = set.moments_flip;
    write_safetensors(cache_file, tensors, identity);
  }
  return set;
}

CachedLatents::CachedLatents(EncodedSet set, const KlVae& vae, double posterior_std)
    : set_(std::move(set)), vae_(vae), posterior_std_(posterior_std) {}

TrainingBatch CachedLatents::batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const {
  const auto count = static_cast<int64_t>(indices.size());
  const Tensor index = at::tensor(indices, at::kLong);
  Tensor moments = set_.moments.index_select(0, index);  // (B, 2C, h, w)
  const Tensor noise = at::empty({count, moments.size(1) / 2, moments.size(2), moments.size(3)}, at::kFloat);
  const auto numbers = static_cast<size_t>(noise.numel() / count);
  for (int64_t b = 0; b < count; ++b) {
    const uint64_t seed = seeds[static_cast<size_t>(b)];
    if (set_.moments_flip.defined() && Rng(seed, Draw::kFlip).uniform() < 0.5)
      moments[b].copy_(set_.moments_flip[indices[static_cast<size_t>(b)]]);
    Rng(seed, Draw::kPosterior).fill_normal({noise.data_ptr<float>() + static_cast<size_t>(b) * numbers, numbers});
  }
  const auto device = vae_.device();
  return {vae_.to_latent(moments.to(device), noise.mul_(posterior_std_).to(device)),
          set_.labels.index_select(0, index).to(device),
          {}};
}

}  // namespace crescendo
