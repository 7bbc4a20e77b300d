// How many tokens are hidden when (paper, section 4.3): by the sampler at each outer step, and in training at each
// level.
#pragma once

#include "crescendo/core/rng.h"
#include "crescendo/order/objective_options.h"
#include "crescendo/order/sampler_options.h"

namespace crescendo {

// Tokens hidden on entering step k of S when revealing follows the cosine (MaskGIT): all of them at k = 0,
// floor(L cos(pi/2 k/S)) after that.
int64_t cosine_masked(int64_t tokens, int64_t k, int64_t steps);

// Tokens hidden at a level where masks go by level, in training (MaskDraw::kCosine) as while sampling: the cosine over
// the levels below visible_level, and none from there on.
int64_t hidden_at_level(int64_t tokens, int64_t level, int64_t visible_level);

// Tokens that the sampler hides on entering step k of FAR: by the level, or by the number of the step.
int64_t hidden_at_step(const SamplerOptions& options, int64_t tokens, int64_t k);

// The low end r_i of the mask ratio in training.
double mask_ratio_min(const ObjectiveOptions& options, int64_t level, int64_t levels);
// Tokens of an image that training hides at a level.
int64_t draw_hidden(const ObjectiveOptions& options, int64_t tokens, int64_t level, int64_t levels, Rng& rng);

// Linear from the first value to the last over the outer steps, or one value for all of them.
int64_t linear_at(const std::vector<int64_t>& ends, int64_t k, int64_t steps);

}  // namespace crescendo
