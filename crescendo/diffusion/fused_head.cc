#include "crescendo/diffusion/fused_head.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/diffusion/row_passes.h"

namespace crescendo {

namespace {

// Numbers that are worth another thread: below, waiting for it costs more than it spares, the more so on a busy
// machine.
constexpr int64_t kNumbersPerTask = 1 << 14;

float* row(const Tensor& t, int64_t i) { return t.data_ptr<float>() + i * t.stride(0); }
const float* numbers(const Tensor& t) { return t.data_ptr<float>(); }

template <class F>
void for_rows(int64_t rows, int64_t width, F&& f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kNumbersPerTask / width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// out = x weight^T
void product(Tensor& out, const Tensor& x, const Tensor& weight) { at::mm_out(out, x, weight.t()); }

}  // namespace

bool FusedHead::serves(const Head& head) {
  const Tensor& weight = head.input_proj().weight;
  return weight.device().is_cpu() && weight.scalar_type() == at::kFloat;
}

FusedHead::FusedHead(const Head& head) : head_(head), width_(head.config().width) {
  check(serves(head), "FusedHead: needs fp32 weights on the CPU");
  const at::NoGradGuard no_grad;
  const auto weights = head.final_modulation().weight.chunk(2, 0), biases = head.final_modulation().bias.chunk(2, 0);
  const Tensor& out = head.final_linear().weight;  // (2C, W)
  final_scale_weight_ = weights[1];
  final_scale_bias_ = biases[1];
  folded_shift_ = at::mm(out, weights[0]);
  output_bias_ = at::mv(out, biases[0]) + head.final_linear().bias;
}

void FusedHead::reserve(int64_t rows) {
  if (x_.defined() && x_.size(0) == rows) return;
  for (Tensor* buffer : {&condition_, &x_, &hidden_, &branch_, &scale_}) *buffer = at::empty({rows, width_});
  for (Tensor& buffer : modulation_) buffer = at::empty({rows, 3 * width_});
}

void FusedHead::add_branch(int64_t block, int64_t i) {
  if (block < 0) return rows::add(row(x_, i), numbers(head_.input_proj().bias), width_);
  const Head::Block& b = head_.blocks()[static_cast<size_t>(block)];
  rows::add_gated(row(x_, i), row(modulation_[block % 2], i) + 2 * width_, numbers(b.modulation.bias) + 2 * width_,
                  row(branch_, i), numbers(b.mlp2.bias), width_);
}

Tensor FusedHead::forward(const Tensor& x, const Tensor& y, const Tensor& time) {
  const int64_t rows = x.size(0), w = width_;
  const auto last = static_cast<int64_t>(head_.blocks().size()) - 1;
  check(y.size(0) == rows && y.is_contiguous() && time.is_contiguous(), "FusedHead: one contiguous condition a row");
  reserve(rows);
  for_rows(rows, w, [&](int64_t i) { rows::silu_of_sum(row(condition_, i), row(y, i), numbers(time), w); });
  product(x_, x, head_.input_proj().weight);
  for (int64_t k = 0; k <= last; ++k) {
    const Head::Block& b = head_.blocks()[static_cast<size_t>(k)];
    Tensor& modulation = modulation_[k % 2];
    product(modulation, condition_, b.modulation.weight);
    for_rows(rows, w, [&](int64_t i) {
      add_branch(k - 1, i);
      rows::normalize(row(hidden_, i), row(x_, i), b.in_ln.eps, w);
      const float *m = row(modulation, i), *bias = numbers(b.modulation.bias);
      rows::modulate(row(hidden_, i), numbers(b.in_ln.weight), numbers(b.in_ln.bias), m + w, bias + w, m, bias, w);
    });
    product(branch_, hidden_, b.mlp0.weight);
    for_rows(rows, w, [&](int64_t i) { rows::silu_of_sum(row(hidden_, i), row(branch_, i), numbers(b.mlp0.bias), w); });
    product(branch_, hidden_, b.mlp2.weight);
  }
  product(scale_, condition_, final_scale_weight_);
  for_rows(rows, w, [&](int64_t i) {
    add_branch(last, i);
    rows::normalize(row(hidden_, i), row(x_, i), head_.final_eps(), w);
    rows::rescale(row(hidden_, i), row(scale_, i), numbers(final_scale_bias_), w);
  });
  Tensor out = at::addmm(output_bias_, condition_, folded_shift_.t());
  return out.addmm_(hidden_, head_.final_linear().weight.t());
}

}  // namespace crescendo
