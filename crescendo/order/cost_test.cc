#include "crescendo/order/cost.h"

#include <gtest/gtest.h>

namespace crescendo {
namespace {

PlanCost cost_of(const char* size, const char* preset, double inner = 0) {
  const ModelConfig model = model_preset(size);
  SamplerOptions o;
  o.preset = preset;
  if (inner > 0) o.diffusion_steps = {static_cast<int64_t>(inner)};
  return plan_cost(make_plan(o, model), model);
}

// TFLOP of FAR's published sampler by an independent count: 512 rows of 35.70, 20.24 and 20.50 million multiply-adds in
// each of 1,000 evaluations, and the transformer's layers.
TEST(Cost, PublishedSampler) {
  const struct {
    const char* size;
    double encoder, decoder, head;
  } expected[] = {{"far-b", 1.16, 1.17, 36.56}, {"far-l", 2.71, 2.73, 20.72}, {"far-h", 5.24, 5.26, 20.99}};
  for (const auto& e : expected) {
    const PlanWork w = cost_of(e.size, "published-nomask").written;
    EXPECT_NEAR(w.encoder / 1e12, e.encoder, 0.01) << e.size;
    EXPECT_NEAR(w.decoder / 1e12, e.decoder, 0.01) << e.size;
    EXPECT_NEAR(w.head / 1e12, e.head, 0.01) << e.size;
  }
}

TEST(Cost, MasksSpareTheEncoder) {
  const PlanWork w = cost_of("far-b", "published-mask").written;
  EXPECT_NEAR(w.encoder / 1e12, 0.57, 0.01);
  EXPECT_NEAR(w.decoder / 1e12, 1.28, 0.01);
  EXPECT_NEAR(w.head / 1e12, 40.21, 0.01);
}

// In percent of the whole: the time once (3.4, 5.1, 4.2), the condition once an outer step (2.0, 4.0, 4.2), one half at
// scale 1 (4.4, 3.5, 2.9 in the head and 0.3, 1.0, 1.7 in the transformer), the folded shift (2.5, 3.7, 3.1).
TEST(Cost, WhatIsSpared) {
  const std::tuple<const char*, double> expected[] = {{"far-b", 12.6}, {"far-l", 17.3}, {"far-h", 16.1}};
  for (const auto& [size, percent] : expected) {
    // The decoder of the pictures, 0.25 TFLOP, counts in those percentages.
    const PlanCost c = cost_of(size, "published-nomask");
    EXPECT_NEAR(100 * (1 - (c.done.total() + 0.25e12) / (c.written.total() + 0.25e12)), percent, 0.3) << size;
  }
}

// Ten outer steps, nine of them guided: ten passes with the condition and nine without, or five where every other
// difference is kept. The head evaluates both halves all the same.
TEST(Cost, KeptDifferencesSpareTheTransformer) {
  const ModelConfig model = model_preset("far-b");
  SamplerOptions o;
  const PlanCost every = plan_cost(make_plan(o, model), model);
  o.cfg_refresh = 2;
  const PlanCost kept = plan_cost(make_plan(o, model), model);
  o.mask = MaskMode::kOff;
  const double unmasked = plan_cost(make_plan(o, model), model).done.decoder;
  o.cfg_refresh = 1;
  EXPECT_NEAR(unmasked / plan_cost(make_plan(o, model), model).done.decoder, 15.0 / 19, 1e-9);
  EXPECT_LT(kept.done.encoder, every.done.encoder);
  EXPECT_EQ(kept.done.head, every.done.head);
  EXPECT_EQ(kept.written.total(), every.written.total());
}

TEST(Cost, MarPredictsEachTokenOnce) {
  const ModelConfig model = model_preset("mar-b");
  SamplerOptions o;
  o.preset = "mar";
  o.cfg = 1;
  const PlanCost c = plan_cost(make_plan(o, model), model);
  // 256 tokens in 64 steps of 100 evaluations each: as many rows as one pass over all tokens.
  const double row =
      2 * (256 * 1024 + 1024 * 1024 + 768 * 1024 + 6 * 5 * 1024 * 1024 + 3 * 16 * 1024 + 2 * 1024 * 1024);
  EXPECT_NEAR(c.written.head / (256 * 100 * row), 1, 1e-9);
}

}  // namespace
}  // namespace crescendo
