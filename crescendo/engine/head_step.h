// Inputs of the diffusion head and its solver for one outer step.
#pragma once

#include "crescendo/diffusion/solvers.h"

namespace crescendo {

struct HeadStep {
  double level = 0;        // frequency level, an input of the head
  double guidance = 1;     // s in eps = u + s (c - u)
  double temperature = 1;  // scales the noise of the inner steps
  Solver solver = Solver::kDdpm;
  Spacing spacing{};  // the inner steps

  bool guided() const { return guidance != 1.0; }
};

}  // namespace crescendo
