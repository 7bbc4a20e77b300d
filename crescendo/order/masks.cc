#include "crescendo/order/masks.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace crescendo {

namespace {

constexpr double kHalfPi = std::numbers::pi / 2;

// A ratio in [r_i, 1].
double draw_mask_ratio(const ObjectiveOptions& o, int64_t level, int64_t levels, Rng& rng) {
  const double low = mask_ratio_min(o, level, levels);
  if (o.mask == MaskDraw::kUniform) return rng.uniform(low, 1.0);
  constexpr double kStd = 0.25;
  for (;;) {  // truncated above at its mean, 1; at low = 0 it is kept in 1 of 1.00006 draws
    const double ratio = 1.0 - kStd * std::abs(rng.normal());
    if (ratio >= low) return ratio;
  }
}

}  // namespace

int64_t cosine_masked(int64_t tokens, int64_t k, int64_t steps) {
  if (k == 0) return tokens;
  return static_cast<int64_t>(std::floor(static_cast<double>(tokens) *
                                         std::cos(kHalfPi * static_cast<double>(k) / static_cast<double>(steps))));
}

int64_t hidden_at_level(int64_t tokens, int64_t level, int64_t visible_level) {
  return level < visible_level ? cosine_masked(tokens, level, visible_level) : 0;
}

int64_t hidden_at_step(const SamplerOptions& o, int64_t tokens, int64_t k) {
  if (!o.mask) return 0;
  if (o.visible_level == 0 || k == 0) return cosine_masked(tokens, k, o.steps);  // at first nothing is known
  return hidden_at_level(tokens, o.levels[static_cast<size_t>(k)], o.visible_level);
}

double mask_ratio_min(const ObjectiveOptions& o, int64_t level, int64_t levels) {
  const double share = levels == 1 ? 0.0 : static_cast<double>(level) / static_cast<double>(levels - 1);
  return o.mask_min_low + share * (o.mask_min_high - o.mask_min_low);
}

int64_t draw_hidden(const ObjectiveOptions& o, int64_t tokens, int64_t level, int64_t levels, Rng& rng) {
  if (o.mask == MaskDraw::kCosine) return hidden_at_level(tokens, level, trained_visible_level(o, levels));
  const double ratio = draw_mask_ratio(o, level, levels, rng);
  return std::min(tokens, static_cast<int64_t>(std::ceil(static_cast<double>(tokens) * ratio)));
}

int64_t linear_at(const std::vector<int64_t>& ends, int64_t k, int64_t steps) {
  if (steps == 1 || ends.size() == 1) return ends.back();
  const double share = static_cast<double>(k) / static_cast<double>(steps - 1);
  return std::lround(static_cast<double>(ends.front()) + share * static_cast<double>(ends.back() - ends.front()));
}

}  // namespace crescendo
