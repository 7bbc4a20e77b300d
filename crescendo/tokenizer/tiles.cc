#include "crescendo/tokenizer/tiles.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

// Where tiles begin along a side: evenly, the last one flush with the end.
std::vector<int64_t> tile_starts(int64_t length, const Tiling& t) {
  std::vector<int64_t> starts;
  for (int64_t at = 0; at + t.side < length; at += t.side - t.overlap) starts.push_back(at);
  starts.push_back(std::max<int64_t>(0, length - t.side));
  return starts;
}

// Weights of the pixels of one tile along a side (n): rising from 0 over `ramp` pixels at an edge that has a neighbour.
Tensor weights(int64_t n, int64_t ramp, bool neighbour_before, bool neighbour_behind) {
  const Tensor place = at::arange(n, at::kFloat) + 0.5, full = at::ones({n});
  const Tensor before = neighbour_before ? place / static_cast<double>(ramp) : full;
  const Tensor behind = neighbour_behind ? (n - place) / static_cast<double>(ramp) : full;
  return at::minimum(at::minimum(before, behind), full);
}

}  // namespace

Tensor decode_in_tiles(const Tensor& latents, const Tiling& t, int64_t f,
                       const std::function<Tensor(const Tensor&)>& decode) {
  check_usage(t.overlap >= 1 && t.side > 2 * t.overlap, "tiles of side ", t.side, " cannot overlap by ", t.overlap,
              ": the overlap must be at least 1 and less than half the side");
  const int64_t height = latents.size(2), width = latents.size(3);
  if (height <= t.side && width <= t.side) return decode(latents);
  Tensor sum, weight;
  const auto rows = tile_starts(height, t), columns = tile_starts(width, t);
  for (const int64_t top : rows)
    for (const int64_t left : columns) {
      const int64_t h = std::min(t.side, height), w = std::min(t.side, width);
      const Tensor tile = decode(latents.slice(2, top, top + h).slice(3, left, left + w)).cpu();  // (B, C', f h, f w)
      if (!sum.defined()) {
        sum = at::zeros({tile.size(0), tile.size(1), f * height, f * width});
        weight = at::zeros({f * height, f * width});
      }
      const Tensor of_tile = weights(f * h, f * t.overlap, top > 0, top + h < height).unsqueeze(1) *
                             weights(f * w, f * t.overlap, left > 0, left + w < width);
      const auto place = [&](const Tensor& whole) {
        return whole.slice(-2, f * top, f * (top + h)).slice(-1, f * left, f * (left + w));
      };
      place(sum).addcmul_(tile, of_tile);
      place(weight).add_(of_tile);
    }
  return sum.div_(weight);
}

}  // namespace crescendo
