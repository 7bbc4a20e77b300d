#include "crescendo/order/recordings.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"

namespace crescendo {

Tensor Recording::operator()(const std::vector<Tensor>& inputs, const Work& work) {
  if (!output_.defined()) {
    for (const Tensor& t : inputs) inputs_.push_back(t.defined() ? t.clone() : Tensor());
    // The result gets a place that stays, where no other graph's work comes.
    graph_->capture([this, work] {
      const Tensor result = work(inputs_);
      if (!output_.defined()) output_ = at::empty_like(result);
      output_.copy_(result);
    });
  } else {
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs_[i].defined()) inputs_[i].copy_(inputs[i]);
  }
  graph_->replay();
  return output_.clone();
}

void warn_of_no_graph(const std::exception& reason) {
  log_warning(concat("work runs step by step, because no graph could be made of it: ", reason.what()));
}

}  // namespace crescendo
