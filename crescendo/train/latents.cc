#include "crescendo/train/latents.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/rng.h"
#include "crescendo/image/image.h"

namespace crescendo {

int64_t tokenizer_batch(int64_t side) { return std::clamp<int64_t>(32 * 64 * 64 / (side * side), 1, 32); }

namespace {

// Latents with room for every image, those of an unfinished cache in place. Returns the numbers of the images that are
// left to encode.
std::vector<int64_t> begin_set(EncodedSet& set, const LatentOrigin& origin,
                               const std::optional<LatentCache>& unfinished, const KlVae& vae, int64_t side,
                               bool flip) {
  const int64_t n = origin.pictures.size(0);
  const int64_t cells = side / vae.config().factor(), channels = 2 * vae.config().latent_channels;
  set.labels = at::empty({n}, at::kLong);
  set.moments = at::empty({n, channels, cells, cells}, at::kFloat);
  if (flip) set.moments_flip = at::empty_like(set.moments);
  const std::vector<int64_t> rows =
      unfinished ? unfinished->rows_of(origin) : std::vector<int64_t>(static_cast<size_t>(n), -1);
  const EncodedSet before = unfinished ? unfinished->set() : EncodedSet{};
  std::vector<int64_t> left;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    if (row < 0) {
      left.push_back(i);
      continue;
    }
    set.moments[i].copy_(before.moments[row]);
    if (flip) set.moments_flip[i].copy_(before.moments_flip[row]);
  }
  return left;
}

}  // namespace

EncodedSet encode_dataset(const Dataset& dataset, const std::string& spec, const KlVae& vae, bool flip,
                          const std::filesystem::path& cache_file) {
  const int64_t n = dataset.size();
  const int64_t side = dataset.get(0).image.size(1);
  const int64_t cells = side / vae.config().factor();
  const double need = (flip ? 2.0 : 1.0) * static_cast<double>(n) * 2 *
                      static_cast<double>(vae.config().latent_channels * cells * cells) * sizeof(float);
  std::optional<LatentCache> cache = LatentCache::open(cache_file);
  const auto check_memory = [&] {
    check_fits_memory(
        need, concat("keeping the latents of ", n, " images"),
        flip ? "train on fewer images, or without flip, which takes each twice" : "train on fewer images");
  };
  if (!cache && !cache_file.empty() && std::filesystem::exists(cache_file))
    log_warning(concat(cache_file.string(), ": not a cache of latents as this version writes it; encoded anew"));
  if (!cache || cache->set().labels.size(0) != n) check_memory();
  const LatentOrigin origin(dataset, spec, vae, flip, side);
  if (cache) {
    const std::vector<std::string> differences = cache->differences(origin, dataset);
    if (cache->finished() && differences.empty()) {
      log_info(concat("latents of ", n, " images read from ", cache_file.string()));
      return cache->set();
    }
    if (!differences.empty())
      log_warning(concat(cache_file.string(), " is of other data: ", join(differences),
                         cache->finished() ? "; everything is encoded anew" : ""));
    if (cache->finished()) cache.reset();
    check_memory();
  }
  const at::NoGradGuard no_grad;
  EncodedSet set;
  const std::vector<int64_t> left = begin_set(set, origin, cache, vae, side, flip);
  for (int64_t i = 0; i < n; ++i) set.labels.data_ptr<int64_t>()[i] = dataset.label(i);
  if (const int64_t had = n - static_cast<int64_t>(left.size()); had > 0)
    log_info(concat("latents of ", had, " of ", n, " images read from ", cache_file.string()));
  size_t done = 0;
  const auto keep = [&](bool all) {
    if (cache_file.empty()) return;
    std::vector<int64_t> rows(static_cast<size_t>(n));
    std::iota(rows.begin(), rows.end(), int64_t{0});
    if (!all)
      std::erase_if(rows, [&](int64_t i) {
        return std::binary_search(left.begin() + static_cast<std::ptrdiff_t>(done), left.end(), i);
      });
    if (!rows.empty()) LatentCache::write(cache_file, set, origin, rows);
  };
  Progress bar("encoding");
  try {
    const auto batch = static_cast<size_t>(tokenizer_batch(side));
    while (done < left.size()) {
      check(!interrupted(), "stopped while encoding the data set; ", cache_file.empty() ? "nothing" : "what was done",
            " is kept");
      const std::vector<int64_t> indices(
          left.begin() + static_cast<std::ptrdiff_t>(done),
          left.begin() + static_cast<std::ptrdiff_t>(std::min(done + batch, left.size())));
      const Tensor index = at::tensor(indices, at::kLong);
      const Tensor x = from_bytes(dataset.batch(indices).images.to(vae.device()));  // (B, 3, H, W)
      set.moments.index_copy_(0, index, vae.encode_moments(x).to(at::kCPU));
      if (flip) set.moments_flip.index_copy_(0, index, vae.encode_moments(x.flip({3})).to(at::kCPU));
      done += indices.size();
      bar.update(static_cast<double>(done) / static_cast<double>(left.size()),
                 concat(done, " of ", left.size(), " images"));
    }
  } catch (...) {
    keep(false);
    throw;
  }
  bar.finish(concat(left.size(), " images encoded to latents ", set.moments.size(1) / 2, " x ", cells, " x ", cells));
  keep(true);
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
