#include "crescendo/order/cost.h"

#include <algorithm>

namespace crescendo {

namespace {

// Multiply-adds of one pass of `blocks` blocks over n tokens, each of which sees `keys`.
double blocks_macs(const ModelConfig& m, int64_t blocks, double n, double keys) {
  const auto d = static_cast<double>(m.width), a = static_cast<double>(m.attention_width());
  const auto text = static_cast<double>(m.text_length);
  double block = n * 4 * d * a + 2 * n * keys * a + n * 2 * static_cast<double>(m.mlp_ratio) * d * d;
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

bool guided(const Plan& plan) {
  return std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.head.guided(); });
}

// Of raster and next-scale: each token passes through the blocks once, with the keys of those before it kept. The
// unconditional half passes at every step, guided or not, since later ones see it.
PlanCost sequence_cost(const Plan& plan, const ModelConfig& m) {
  const auto buffer = static_cast<double>(m.buffer_size), d = static_cast<double>(m.width);
  const double halves = guided(plan) ? 2 : 1;
  const int64_t blocks = m.encoder_blocks + m.decoder_blocks;
  const HeadMacs head(m);
  const std::vector<int64_t> counts = m.step_tokens();
  const bool raster = m.order == Order::kRaster;
  double before = buffer;  // rows whose keys are kept
  PlanCost cost;
  cost.done.encoder = 2 * halves * blocks_macs(m, blocks, buffer, buffer);
  for (int64_t k = 0; k < plan.size(); ++k) {
    const HeadStep& step = plan.steps[static_cast<size_t>(k)].head;
    const auto n = static_cast<double>(counts[static_cast<size_t>(k)]), inner = static_cast<double>(step.spacing.steps);
    if (k > 0 || !raster) {  // a raster's first token comes of the buffer
      before += n;
      const double keys = m.markov ? buffer + n : before;
      const double entering = k > 0 ? n * static_cast<double>(m.token_channels()) * d : 0;
      cost.done.encoder += 2 * halves * (entering + blocks_macs(m, blocks, n, keys));
    }
    cost.written.head +=
        2 * halves * n * inner * (head.time + head.condition + head.blocks + head.ends + head.last_modulation);
    cost.done.head +=
        2 * (inner * head.time + (step.guided() ? 2 : 1) * n *
                                     (head.condition + inner * (head.blocks + head.ends + head.folded_modulation)));
  }
  cost.written.encoder = cost.done.encoder;
  return cost;
}

}  // namespace

PlanCost plan_cost(const Plan& plan, const ModelConfig& m) {
  if (m.is_sequence()) return sequence_cost(plan, m);
  const auto tokens = static_cast<double>(m.tokens()), buffer = static_cast<double>(m.buffer_size),
             d = static_cast<double>(m.width);
  const HeadMacs head(m);
  PlanCost cost;
  for (int64_t k = 0; k < plan.size(); ++k) {
    const Step& step = plan.steps[static_cast<size_t>(k)];
    const double visible = tokens - static_cast<double>(step.masked),
                 inner = static_cast<double>(step.head.spacing.steps);
    const double seen = buffer + visible;
    const double encoder =
        2 * (tokens * static_cast<double>(m.token_channels()) * d + blocks_macs(m, m.encoder_blocks, seen, seen));
    const double decoder = 2 * (seen * d * d + blocks_macs(m, m.decoder_blocks, buffer + tokens, buffer + tokens));
    const auto [first, end] = places_read(plan, k, m.tokens());
    const auto read = static_cast<double>(end - first);
    const double halves = guided(plan) ? 2 : 1, halves_done = step.head.guided() ? 2 : 1;
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
