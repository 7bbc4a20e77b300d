// What a plan costs: floating-point operations per picture, counted from shapes.
//
// A multiplication and the addition behind it are two. Counted are the products of the layers and of attention;
// softmax, normalisation and activations are not. The decoder of the tokenizer is no part of a plan.
#pragma once

#include "crescendo/order/plan.h"

namespace crescendo {

struct PlanWork {
  double encoder = 0, decoder = 0, head = 0;  // FLOP; the one stack of raster and next-scale is the encoder
  double total() const { return encoder + decoder + head; }
};

struct PlanCost {
  // As the published code computes it: every token at every inner step, with its time and condition, and both halves
  // wherever guidance is asked for at all.
  PlanWork written;
  // As the sampling loops do: time once for all rows, the condition once an outer step, no unconditional half at scale
  // 1, only tokens that are read, and on a CPU the last layer's shift folded into its product.
  PlanWork done;
};

PlanCost plan_cost(const Plan& plan, const ModelConfig& model);

}  // namespace crescendo
