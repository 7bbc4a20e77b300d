#include "crescendo/order/cost.h"

#include <algorithm>

namespace crescendo {

namespace {

// Multiply-adds of one pass of `blocks` blocks over n tokens.
double blocks_macs(const ModelConfig& m, int64_t blocks, double n) {
  const auto d = static_cast<double>(m.width), a = static_cast<double>(m.attention_width());
  const auto text = static_cast<double>(m.text_length);
  double block = n * 4 * d * a + 2 * n * n * a + n * 2 * static_cast<double>(m.mlp_ratio) * d * d;
  if (m.is_text()) block += n * 2 * d * a + text * 2 * d * a + 2 * n * text * a;  // attention to the text
  return static_cast<double>(blocks) * block;
}

// Of one evaluation of the head for a row, by what it depends on.
struct HeadMacs {
  explicit HeadMacs(const ModelConfig& m) {
    const auto w = static_cast<double>(m.diffusion_width), c = static_cast<double>(m.token_channels());
    time = 256 * w + w * w;
    condition = static_cast<double>(m.width) * w + (m.level_input() ? w : 0);
    blocks = static_cast<double>(m.diffusion_blocks) * 5 * w * w;
    ends = c * w + 2 * c * w;
    last_modulation = 2 * w * w;
    folded_modulation = w * w + 2 * c * w;
  }
  double time, condition, blocks, ends, last_modulation, folded_modulation;
};

}  // namespace

PlanCost plan_cost(const Plan& plan, const ModelConfig& m) {
  const auto tokens = static_cast<double>(m.tokens()), buffer = static_cast<double>(m.buffer_size),
             d = static_cast<double>(m.width);
  const HeadMacs head(m);
  const bool guided = std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.head.guided(); });
  PlanCost cost;
  for (int64_t k = 0; k < plan.size(); ++k) {
    const Step& step = plan.steps[static_cast<size_t>(k)];
    const double visible = tokens - static_cast<double>(step.masked),
                 inner = static_cast<double>(step.head.spacing.steps);
    const double seen = buffer + visible;
    const double encoder =
        2 * (tokens * static_cast<double>(m.token_channels()) * d + blocks_macs(m, m.encoder_blocks, seen));
    const double decoder = 2 * (seen * d * d + blocks_macs(m, m.decoder_blocks, buffer + tokens));
    const auto [first, end] = places_read(plan, k, m.tokens());
    const auto read = static_cast<double>(end - first);
    const double halves = guided ? 2 : 1, halves_done = step.head.guided() ? 2 : 1;
    cost.written.encoder += halves * encoder;
    cost.written.decoder += halves * decoder;
    cost.written.head += 2 * halves * (plan.order == Order::kMar ? read : tokens) * inner *
                         (head.time + head.condition + head.blocks + head.ends + head.last_modulation);
    cost.done.encoder += halves_done * encoder;
    cost.done.decoder += halves_done * decoder;
    cost.done.head +=
        2 * (inner * head.time +
             halves_done * read * (head.condition + inner * (head.blocks + head.ends + head.folded_modulation)));
  }
  return cost;
}

}  // namespace crescendo
