#include "crescendo/order/cost.h"

#include <gtest/gtest.h>

#include "tests/tiny_model.h"

namespace crescendo {
namespace {

PlanCost cost_of(const char* size, const char* preset, double inner = 0) {
  const ModelConfig model = model_preset(size);
  Json asked = {{"preset", preset}};
  if (inner > 0) asked["diffusion_steps"] = {static_cast<int64_t>(inner)};
  return plan_cost(make_plan(resolve_sampler(asked, model), model), model);
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

TEST(Cost, MarPredictsEachTokenOnce) {
  const ModelConfig model = model_preset("mar-b");
  const PlanCost c = plan_cost(make_plan(resolve_sampler({{"cfg", 1}}, model), model), model);
  // 256 tokens in 64 steps of 100 evaluations each: as many rows as one pass over all tokens.
  const double row =
      2 * (256 * 1024 + 1024 * 1024 + 768 * 1024 + 6 * 5 * 1024 * 1024 + 3 * 16 * 1024 + 2 * 1024 * 1024);
  EXPECT_NEAR(c.written.head / (256 * 100 * row), 1, 1e-9);
}

// Multiply-adds of a row of the tiny model: 4 x 8 x 8 of projections, 2 x 2 x 8 x 8 of the MLP, 2 x 8 for each key.
double rows_macs(double rows, double keys) { return 2 * rows * (512 + 16 * keys); }  // in two blocks

TEST(Cost, SequencesPassEachTokenOnce) {
  const auto encoder = [](const ModelConfig& c, double cfg) {
    return plan_cost(make_plan(resolve_sampler({{"cfg", cfg}}, c), c), c).done.encoder;
  };
  const ModelConfig raster = test::tiny_config(Order::kRaster);
  double expected = rows_macs(2, 2) + 15 * 16;  // the buffer, and what enters
  for (int i = 1; i <= 15; ++i) expected += rows_macs(1, 2 + i);
  EXPECT_NEAR(encoder(raster, 1), 2 * expected, 1e-6);
  EXPECT_NEAR(encoder(raster, 3), 4 * expected, 1e-6);
  ModelConfig scales = test::tiny_config(Order::kNextScale);  // sides 1, 2 and 4
  expected = rows_macs(2, 2) + rows_macs(1, 3) + rows_macs(4, 7) + rows_macs(16, 23) + 20 * 16;
  EXPECT_NEAR(encoder(scales, 1), 2 * expected, 1e-6);
  scales.markov = true;
  expected = rows_macs(2, 2) + rows_macs(1, 3) + rows_macs(4, 6) + rows_macs(16, 18) + 20 * 16;
  EXPECT_NEAR(encoder(scales, 1), 2 * expected, 1e-6);
  // The head answers for 16 tokens, or for 21.
  const auto head = [](const ModelConfig& c) {
    return plan_cost(make_plan(resolve_sampler({{"cfg", 1}}, c), c), c).written.head;
  };
  const double row = 256 * 8 + 8 * 8 + 8 * 8 + 5 * 8 * 8 + 3 * 2 * 8 + 2 * 8 * 8;
  EXPECT_NEAR(head(raster), 2 * 16 * 100 * row, 1e-6);
  EXPECT_NEAR(head(scales), 2 * 21 * 100 * (row + 8), 1e-6);  // which is told the scale
}

}  // namespace
}  // namespace crescendo
