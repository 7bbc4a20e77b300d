// AdamW (Loshchilov and Hutter 2019) over all parameters at once, with the running average of the weights beside it.
//
// Parameters, gradients and moments each lie in one flat buffer, so that a step is a single pass over memory. The
// parameters of the model become views into the flat buffer; their values and names do not change.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "crescendo/nn/params.h"

namespace crescendo {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.02;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("beta1", s.beta1, "decay of the gradient's mean");
    v("beta2", s.beta2, "decay of the gradient's square");
    v("eps", s.eps, "added to the denominator");
    v("weight_decay", s.weight_decay, "decoupled weight decay of the matrices outside the diffusion head");
  }
};

// No decay on 1-D tensors, biases and the whole diffusion head, as published.
bool decays_as_published(const std::string& name, const Tensor& parameter);

// L2 norm of a flat fp32 tensor, summed in double: a sum in fp32 loses what is small beside it, and a large model's
// gradient is hundreds of millions of such squares. Not finite when any element is not, and only then.
double l2_norm(const Tensor& flat);

class AdamW {
 public:
  using Decays = std::function<bool(const std::string& name, const Tensor& parameter)>;
  // `workers` threads may add gradients at the same time, each to a buffer of its own.
  AdamW(Params& params, const AdamWOptions& options, const Decays& decays = decays_as_published, int64_t workers = 1);

  void zero_grad();
  // Adds the gradient of the scalar `loss`. Before the update, sum_gradients() adds the workers' buffers up, in order.
  void add_gradient(const Tensor& loss, int64_t worker = 0);
  void sum_gradients();
  // L2 norm over all gradients, as l2_norm().
  double grad_norm() const;
  // One update with the gradients times `grad_scale` (for clipping). Counts steps for the bias correction.
  void step(double lr, double grad_scale = 1.0);
  int64_t steps() const { return steps_; }

  // "exp_avg.NAME", "exp_avg_sq.NAME": views into the flat buffers.
  TensorMap state() const;
  // Throws where a tensor is missing or misshapen.
  void load_state(const TensorMap& state, int64_t steps, const std::string& source_name);

  // A flat copy's views by parameter name, for whoever keeps one (the EMA).
  TensorMap views(const Tensor& flat, const std::string& prefix) const;
  const Tensor& flat_parameters() const { return parameters_; }

 private:
  struct Segment {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset, size;
    bool decays;
  };
  AdamWOptions options_;
  std::vector<Segment> segments_;
  std::vector<Tensor> leaves_;                     // the parameters, one per segment
  Tensor parameters_, gradients_, mean_, square_;  // flat, fp32
  std::vector<Tensor> worker_gradients_;           // flat; the first is gradients_
  int64_t steps_ = 0;
};

// Exponential moving average of the weights. With `warmup` the first updates use a lower decay so that it is not tied
// to the initial weights: min(decay, (1 + n) / (10 + n)) at update n.
class Ema {
 public:
  Ema(const AdamW& optimizer, double decay, bool warmup = true);
  void update(const AdamW& optimizer);
  TensorMap state(const AdamW& optimizer, const std::string& prefix = "") const;
  void load_state(const AdamW& optimizer, const TensorMap& state, const std::string& prefix, int64_t updates,
                  const std::string& source_name);
  int64_t updates() const { return updates_; }

 private:
  double decay_;
  bool warmup_;
  int64_t updates_ = 0;
  Tensor weights_;  // flat
};

}  // namespace crescendo
