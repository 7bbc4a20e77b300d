// How a model is executed. None of it changes what is computed beyond rounding.
#pragma once

#include "crescendo/kernels/graph.h"

namespace crescendo {

struct Execution {
  bool plain = false;                     // layer by layer as the model's own code states it: the reference
  bool int8 = false;                      // weights of transformer and head in int8, on a CPU
  GraphFactory graphs = device_graphs();  // tests pass others
};

}  // namespace crescendo
