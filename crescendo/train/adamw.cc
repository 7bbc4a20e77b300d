#include "crescendo/train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "crescendo/core/check.h"

namespace crescendo {

namespace {

constexpr int64_t kAlignment = 16;  // floats: every parameter starts on a cache line

// Copies `state`'s tensors named prefix + name into the views of a flat buffer.
void copy_into(const TensorMap& views, const TensorMap& state, const std::string& source_name) {
  for (const auto& [name, view] : views) {
    const auto it = state.find(name);
    check(it != state.end(), source_name, " lacks ", name);
    check(it->second.sizes() == view.sizes(), source_name, ": ", name, " has shape ", it->second.sizes(), ", expected ",
          view.sizes());
    view.copy_(it->second);
  }
}

}  // namespace

bool decays_as_published(const std::string& name, const Tensor& parameter) {
  return parameter.dim() > 1 && !name.ends_with(".bias") && name.find("diffloss") == std::string::npos;
}

double l2_norm(const Tensor& flat) {
  const at::NoGradGuard no_grad;
  if (!flat.is_cpu()) {
    constexpr int64_t kPart = 1 << 24;  // copied to double at a time
    Tensor sum = at::zeros({}, flat.options().dtype(at::kDouble));
    for (int64_t i = 0; i < flat.numel(); i += kPart)
      sum += flat.slice(0, i, std::min(flat.numel(), i + kPart)).to(at::kDouble).square_().sum();
    return std::sqrt(sum.item<double>());
  }
  constexpr int64_t kPart = 1 << 15;  // summed by one thread; the result does not depend on how many there are
  const int64_t size = flat.numel();
  const float* const x = flat.data_ptr<float>();
  std::vector<double> parts(static_cast<size_t>((size + kPart - 1) / kPart));
  at::parallel_for(0, static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      std::array<double, 8> lanes{};  // sums that do not wait for each other
      const int64_t last = std::min(size, (part + 1) * kPart);
      int64_t i = part * kPart;
      for (; i + 8 <= last; i += 8)
        for (int64_t lane = 0; lane < 8; ++lane) {
          const auto v = static_cast<double>(x[i + lane]);
          lanes[static_cast<size_t>(lane)] += v * v;
        }
      for (; i < last; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      parts[static_cast<size_t>(part)] = std::accumulate(lanes.begin(), lanes.end(), 0.0);
    }
  });
  return std::sqrt(std::accumulate(parts.begin(), parts.end(), 0.0));
}

AdamW::AdamW(Params& params, const AdamWOptions& options, const Decays& decays, int64_t workers) : options_(options) {
  int64_t offset = 0;
  for (const auto& [name, p] : params.items()) {
    check(p.scalar_type() == at::kFloat, "training needs fp32 weights; ", name, " is ", at::toString(p.scalar_type()));
    segments_.push_back({name, p.sizes().vec(), offset, p.numel(), decays(name, p)});
    offset += (p.numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  const at::NoGradGuard no_grad;
  parameters_ = at::zeros({offset}, params.items().front().second.options().requires_grad(false));
  gradients_ = at::zeros_like(parameters_);
  mean_ = at::zeros_like(parameters_);
  square_ = at::zeros_like(parameters_);
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& s = segments_[i];
    Tensor p = params.items()[i].second;
    const Tensor view = parameters_.narrow(0, s.offset, s.size).view(s.shape);
    view.copy_(p);
    p.set_data(view);
    p.set_requires_grad(true);
    // A gradient that is there is added to in place, so it stays in the flat buffer.
    p.mutable_grad() = gradients_.narrow(0, s.offset, s.size).view(s.shape);
    leaves_.push_back(p);
  }
  worker_gradients_ = {gradients_};
  for (int64_t w = 1; w < workers; ++w) worker_gradients_.push_back(at::zeros_like(gradients_));
}

void AdamW::zero_grad() {
  for (Tensor& g : worker_gradients_) g.zero_();
}

void AdamW::add_gradient(const Tensor& loss, int64_t worker) {
  const auto gradients =
      torch::autograd::grad({loss}, leaves_, {}, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
  const at::NoGradGuard no_grad;
  const Tensor& flat = worker_gradients_.at(static_cast<size_t>(worker));
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& s = segments_[i];
    if (gradients[i].defined()) flat.narrow(0, s.offset, s.size).view(s.shape).add_(gradients[i]);
  }
}

void AdamW::sum_gradients() {
  const at::NoGradGuard no_grad;
  for (size_t w = 1; w < worker_gradients_.size(); ++w) gradients_.add_(worker_gradients_[w]);
}

double AdamW::grad_norm() const { return l2_norm(gradients_); }

void AdamW::step(double lr, double grad_scale) {
  const at::NoGradGuard no_grad;
  ++steps_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  const auto shrink_of = [&](const Segment& s) { return s.decays ? 1 - lr * options_.weight_decay : 1.0; };
  if (parameters_.is_cpu()) {
    float* const parameters = parameters_.data_ptr<float>();
    float* const means = mean_.data_ptr<float>();
    float* const squares = square_.data_ptr<float>();
    const float* const gradients = gradients_.data_ptr<float>();
    const auto b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2),
               eps = static_cast<float>(options_.eps);
    const auto scale = static_cast<float>(grad_scale);
    const auto rate = static_cast<float>(lr / correction1),
               inverse_root = static_cast<float>(1 / std::sqrt(correction2));
    // One parallel region for all segments: threads meet once per step.
    at::parallel_for(0, parameters_.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (const Segment& s : segments_) {
        const int64_t from = std::max(begin, s.offset), to = std::min(end, s.offset + s.size);
        const auto keep = static_cast<float>(shrink_of(s));
        float* __restrict p = parameters;
        float* __restrict m = means;
        float* __restrict v = squares;
        const float* __restrict g = gradients;
        for (int64_t i = from; i < to; ++i) {
          const float gi = g[i] * scale;
          m[i] = b1 * m[i] + (1 - b1) * gi;
          v[i] = b2 * v[i] + (1 - b2) * gi * gi;
          p[i] = p[i] * keep - rate * m[i] / (std::sqrt(v[i]) * inverse_root + eps);
        }
      }
    });
    return;
  }
  for (const Segment& s : segments_) {
    const auto part = [&](const Tensor& flat) { return flat.narrow(0, s.offset, s.size); };
    const Tensor g = part(gradients_) * grad_scale;
    Tensor p = part(parameters_), m = part(mean_), v = part(square_);
    m.mul_(options_.beta1).add_(g, 1 - options_.beta1);
    v.mul_(options_.beta2).addcmul_(g, g, 1 - options_.beta2);
    p.mul_(shrink_of(s)).addcdiv_(m, (v.sqrt() / std::sqrt(correction2)).add_(options_.eps), -lr / correction1);
  }
}

TensorMap AdamW::views(const Tensor& flat, const std::string& prefix) const {
  TensorMap out;
  for (const Segment& s : segments_) out[prefix + s.name] = flat.narrow(0, s.offset, s.size).view(s.shape);
  return out;
}

TensorMap AdamW::state() const {
  TensorMap out = views(mean_, "exp_avg.");
  out.merge(views(square_, "exp_avg_sq."));
  return out;
}

void AdamW::load_state(const TensorMap& state, int64_t steps, const std::string& source_name) {
  copy_into(this->state(), state, source_name);
  steps_ = steps;
}

Ema::Ema(const AdamW& optimizer, double decay, bool warmup)
    : decay_(decay), warmup_(warmup), weights_(optimizer.flat_parameters().detach().clone()) {}

void Ema::update(const AdamW& optimizer) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<double>(updates_++);
  const double decay = warmup_ ? std::min(decay_, (1 + n) / (10 + n)) : decay_;
  weights_.lerp_(optimizer.flat_parameters(), 1 - decay);
}

TensorMap Ema::state(const AdamW& optimizer, const std::string& prefix) const {
  return optimizer.views(weights_, prefix);
}

void Ema::load_state(const AdamW& optimizer, const TensorMap& state, const std::string& prefix, int64_t updates,
                     const std::string& source_name) {
  copy_into(this->state(optimizer, prefix), state, source_name);
  updates_ = updates;
}

}  // namespace crescendo
