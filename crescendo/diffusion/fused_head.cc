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
// Rows from which on a product runs at its full rate.
constexpr int64_t kRowsOfAProduct = 512;

template <class T>
T* row(const Tensor& t, int64_t i) {
  return t.data_ptr<T>() + i * t.stride(0);
}
const float* numbers(const Tensor& t) { return t.data_ptr<float>(); }

template <class F>
void for_rows(int64_t rows, int64_t width, F&& f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kNumbersPerTask / width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// out = x weight^T
void product(Tensor& out, const Tensor& x, const Tensor& weight) { at::mm_out(out, x, weight.t()); }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Tensor fp32(const Tensor& t) { return t.to(at::kFloat).contiguous(); }

}  // namespace

bool FusedHead::serves(const Head& head) {
  const Tensor& weight = head.input_proj().weight;
  return weight.device().is_cpu() && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
}

FusedHead::FusedHead(const Head& head) : type_(head.input_proj().weight.scalar_type()), width_(head.config().width) {
  check(serves(head), "FusedHead: needs fp32 or bf16 weights on the CPU");
  const at::NoGradGuard no_grad;
  for (const Head::Block& b : head.blocks())
    blocks_.push_back({b.modulation.weight, b.mlp0.weight, b.mlp2.weight, fp32(b.in_ln.weight), fp32(b.in_ln.bias),
                       fp32(b.modulation.bias), fp32(b.mlp0.bias), fp32(b.mlp2.bias), b.in_ln.eps});
  input_weight_ = fp32(head.input_proj().weight);
  input_bias_ = fp32(head.input_proj().bias);
  final_weight_ = fp32(head.final_linear().weight);
  const auto weights = fp32(head.final_modulation().weight).chunk(2, 0),
             biases = fp32(head.final_modulation().bias).chunk(2, 0);  // shift, scale
  final_scale_weight_ = weights[1];
  final_scale_bias_ = biases[1];
  folded_shift_ = at::mm(final_weight_, weights[0]);
  output_bias_ = at::mv(final_weight_, biases[0]) + fp32(head.final_linear().bias);
}

void FusedHead::begin(const Tensor& y, const Tensor& times) {
  y_ = fp32(y);
  times_ = fp32(times);
  first_ = end_ = 0;
  const int64_t steps = times.size(0), most = kRowsOfAProduct / std::max<int64_t>(1, y.size(0)),
                chunks = ceil_div(steps, std::clamp<int64_t>(most, 1, steps)), chunk = ceil_div(steps, chunks);
  if (y.size(0) == rows_ && chunk == chunk_) return;
  rows_ = y.size(0);
  chunk_ = chunk;
  const auto buffer = [](int64_t rows, int64_t width, at::ScalarType type) { return at::empty({rows, width}, type); };
  condition_ = buffer(chunk_ * rows_, width_, at::kFloat);
  product_condition_ = type_ == at::kFloat ? condition_ : buffer(chunk_ * rows_, width_, type_);
  scale_ = buffer(chunk_ * rows_, width_, at::kFloat);
  shift_ = buffer(chunk_ * rows_, output_bias_.size(0), at::kFloat);
  // Modulations of one step are read by the block that follows: two buffers in turn stay in the cache.
  modulation_.resize(chunk_ == 1 ? std::min<size_t>(2, blocks_.size()) : blocks_.size());
  for (Tensor& m : modulation_) m = buffer(chunk_ * rows_, 3 * width_, type_);
  x_ = buffer(rows_, width_, at::kFloat);
  normed_ = buffer(rows_, width_, at::kFloat);
  hidden_ = buffer(rows_, width_, type_);
  branch_ = buffer(rows_, width_, type_);
}

void FusedHead::begin_chunk(int64_t i) {
  end_ = i + 1;
  first_ = std::max<int64_t>(0, end_ - chunk_);
  for_rows((end_ - first_) * rows_, width_, [&](int64_t r) {
    rows::silu_of_sum(row<float>(condition_, r), row<float>(y_, r % rows_), row<float>(times_, first_ + r / rows_),
                      width_);
  });
  if (type_ != at::kFloat) product_condition_.copy_(condition_);
  product(scale_, condition_, final_scale_weight_);
  at::addmm_out(shift_, output_bias_, condition_, folded_shift_.t());
}

template <class T>
void FusedHead::add_branch(int64_t block, const T* modulation, int64_t i) {
  if (block < 0) return rows::add(row<float>(x_, i), numbers(input_bias_), width_);
  const Block& b = blocks_[static_cast<size_t>(block)];
  rows::add_gated(row<float>(x_, i), modulation + 2 * width_, numbers(b.modulation_bias) + 2 * width_,
                  row<T>(branch_, i), numbers(b.mlp2_bias), width_);
}

template <class T>
Tensor FusedHead::evaluate(const Tensor& x, int64_t step) {
  const int64_t w = width_, last = static_cast<int64_t>(blocks_.size()) - 1;
  const bool fresh = step < first_ || step >= end_;
  if (fresh) begin_chunk(step);
  const int64_t at = (step - first_) * rows_;  // of this step's rows among the chunk's
  const auto modulation = [&](int64_t block) -> Tensor& {
    return modulation_[static_cast<size_t>(block) % modulation_.size()];
  };
  const auto modulation_row = [&](int64_t block, int64_t i) -> const T* {
    return block < 0 ? nullptr : row<T>(modulation(block), at + i);
  };
  product(x_, x, input_weight_);
  for (int64_t k = 0; k <= last; ++k) {
    const Block& b = blocks_[static_cast<size_t>(k)];
    if (fresh) product(modulation(k), product_condition_, b.modulation);
    for_rows(rows_, w, [&](int64_t i) {
      add_branch<T>(k - 1, modulation_row(k - 1, i), i);
      const T* m = modulation_row(k, i);
      const float* bias = numbers(b.modulation_bias);
      rows::normalize_modulate(row<T>(hidden_, i), row<float>(x_, i), b.eps, numbers(b.norm_weight),
                               numbers(b.norm_bias), m + w, bias + w, m, bias, w);
    });
    product(branch_, hidden_, b.mlp0);
    for_rows(rows_, w,
             [&](int64_t i) { rows::silu_of_sum(row<T>(hidden_, i), row<T>(branch_, i), numbers(b.mlp0_bias), w); });
    product(branch_, hidden_, b.mlp2);
  }
  for_rows(rows_, w, [&](int64_t i) {
    add_branch<T>(last, modulation_row(last, i), i);
    rows::normalize_rescale(row<float>(normed_, i), row<float>(x_, i), Head::final_eps(), row<float>(scale_, at + i),
                            numbers(final_scale_bias_), w);
  });
  return at::addmm(shift_.slice(0, at, at + rows_), normed_, final_weight_.t());
}

Tensor FusedHead::forward(const Tensor& x, int64_t i) {
  check(x.size(0) == rows_ && i >= 0 && i < times_.size(0), "FusedHead: ", x.size(0), " rows at inner step ", i,
        ", begun with ", rows_, " rows and ", rows_ ? times_.size(0) : 0, " steps");
  return type_ == at::kFloat ? evaluate<float>(x, i) : evaluate<c10::BFloat16>(x, i);
}

}  // namespace crescendo
