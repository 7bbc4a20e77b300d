#include "crescendo/engine/graph_cache.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"

namespace crescendo {

Tensor CapturedGraph::operator()(const std::vector<Tensor>& inputs, const Work& work) {
  if (!output_.defined()) {
    for (const Tensor& t : inputs) inputs_.push_back(t.defined() ? t.clone() : Tensor());
    // The result is copied out of the graph's memory pool, which other graphs share.
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

void warn_no_graph(const std::exception& reason) {
  log_warning(concat("no graph could be captured, so work is launched step by step: ", reason.what()));
}

}  // namespace crescendo
