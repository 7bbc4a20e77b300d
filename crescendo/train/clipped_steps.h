// Updates by a loss whose gradient is clipped; ten in a row that are not finite end the training.
#pragma once

#include "crescendo/train/adamw.h"

namespace crescendo {

class ClippedSteps {
 public:
  // `clip`: largest norm of the gradient; 0 is none. `optimizer` must outlive this.
  ClippedSteps(AdamW& optimizer, double clip) : optimizer_(optimizer), clip_(clip) {}
  // Returns the gradient's norm before it is clipped; where that is not finite nothing is updated.
  double operator()(const Tensor& loss, double lr);

 private:
  AdamW& optimizer_;
  double clip_;
  int64_t skipped_ = 0;  // in a row
};

}  // namespace crescendo
