#include "crescendo/engine/fused_head.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/kernels/row_passes.h"

namespace crescendo {

namespace {

// Rows from which on a product of modulations runs at its full rate: on a CPU by small weights, which stay in a cache,
// and by others, and on a GPU, whose many cores need more.
constexpr int64_t kRowsOfASmallProduct = 64, kRowsOfAProduct = 512, kRowsOfAProductOnAGpu = 2048;
// Up to these a second copy of a weight is small.
constexpr int64_t kNarrow = 512, kSmallMatrix = 1 << 18;

float* numbers(const Tensor& t) { return t.data_ptr<float>(); }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Tensor fp32(const Tensor& t) { return t.to(at::kFloat).contiguous(); }

}  // namespace

bool FusedHead::serves(const Head& head) {
  const Tensor& weight = head.input_proj().weight;
  return rows::serves(weight.device()) && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
}

FusedHead::FusedHead(const Head& head, bool int8)
    : type_(head.input_proj().weight.scalar_type()), int8_(int8), width_(head.config().width) {
  check(serves(head), "FusedHead: needs fp32 or bf16 weights where its passes run");
  check_usage(!int8 || head.input_proj().weight.is_cpu(), "int8 is for CPUs; a GPU takes fp32 or bf16");
  const at::NoGradGuard no_grad;
  for (const Head::Block& b : head.blocks())
    blocks_.push_back({{b.modulation.weight},
                       {b.mlp0.weight},
                       {b.mlp2.weight},
                       fp32(b.in_ln.weight),
                       fp32(b.in_ln.bias),
                       fp32(b.modulation.bias),
                       fp32(b.mlp0.bias),
                       fp32(b.mlp2.bias),
                       b.in_ln.eps});
  input_weight_ = Weight{fp32(head.input_proj().weight)};
  input_bias_ = fp32(head.input_proj().bias);
  final_weight_ = Weight{fp32(head.final_linear().weight)};
  const auto weights = fp32(head.final_modulation().weight).chunk(2, 0),
             biases = fp32(head.final_modulation().bias).chunk(2, 0);  // shift, scale
  final_scale_weight_ = Weight{weights[1].contiguous()};
  final_scale_bias_ = biases[1];
  folded_shift_ = Weight{at::mm(final_weight_.matrix, weights[0])};
  output_bias_ = at::mv(final_weight_.matrix, biases[0]) + fp32(head.final_linear().bias);
  const auto pack = [this](Weight& w, bool in_int8) {
    const bool small = is_small() || w.matrix.numel() <= kSmallMatrix;
    const Products how = in_int8 ? Products::kInt8 : small ? Products::kPacked : Products::kInPlace;
    if (PackedWeight::serves(w.matrix, how)) w.packed = std::make_shared<const PackedWeight>(w.matrix, how);
  };
  for (Block& b : blocks_)
    for (Weight* w : {&b.modulation, &b.mlp0, &b.mlp2}) pack(*w, int8);
  pack(final_scale_weight_, int8);
  for (Weight* w : {&input_weight_, &folded_shift_, &final_weight_}) pack(*w, /*in_int8=*/false);
}

bool FusedHead::is_small() const { return width_ <= kNarrow; }

FusedHead FusedHead::with_own_buffers() const {
  FusedHead other = *this;
  other.rows_ = other.chunk_ = 0;
  return other;
}

void FusedHead::multiply(Tensor& out, const Tensor& x, const Weight& weight, const Tensor& added) {
  if (weight.packed)
    weight.packed->multiply(x, added, out);
  else if (added.defined())
    at::addmm_out(out, added, x, weight.matrix.t());
  else
    at::mm_out(out, x, weight.matrix.t());
}

void FusedHead::modulate(Tensor& out, const Tensor& condition, const Weight& weight) const {
  if (int8_)
    weight.packed->multiply(rounded_condition_, {}, out);
  else
    multiply(out, condition, weight);
}

int64_t FusedHead::chunk_of(int64_t rows, int64_t steps) const {
  const int64_t most = !input_weight_.matrix.is_cpu() ? kRowsOfAProductOnAGpu
                       : is_small()                   ? kRowsOfASmallProduct
                                                      : kRowsOfAProduct,
                chunks = ceil_div(steps, std::clamp<int64_t>(most / std::max<int64_t>(1, rows), 1, steps));
  return ceil_div(steps, chunks);
}

void FusedHead::begin(const Tensor& y, const Tensor& times) {
  y_ = fp32(y);
  times_ = fp32(times);
  first_ = end_ = 0;
  const int64_t chunk = chunk_of(y.size(0), times.size(0));
  if (y.size(0) == rows_ && chunk == chunk_) return;
  rows_ = y.size(0);
  chunk_ = chunk;
  const auto buffer = [&](int64_t rows, int64_t width, at::ScalarType type) {
    return at::empty({rows, width}, input_weight_.matrix.options().dtype(type));
  };
  condition_ = buffer(chunk_ * rows_, width_, at::kFloat);
  product_condition_ = type_ == at::kFloat || int8_ ? condition_ : buffer(chunk_ * rows_, width_, type_);
  scale_ = buffer(chunk_ * rows_, width_, at::kFloat);
  shift_ = buffer(chunk_ * rows_, output_bias_.size(0), at::kFloat);
  // Modulations of one step are read by the block that follows: two buffers in turn stay in the cache.
  modulation_.resize(chunk_ == 1 ? std::min<size_t>(2, blocks_.size()) : blocks_.size());
  for (Tensor& m : modulation_) m = buffer(chunk_ * rows_, 3 * width_, type_);
  input_ = buffer(rows_, width_, at::kFloat);
  x_ = buffer(rows_, width_, at::kFloat);
  normed_ = buffer(rows_, width_, at::kFloat);
  hidden_ = buffer(rows_, width_, type_);
  branch_ = buffer(rows_, width_, type_);
}

void FusedHead::begin_chunk(int64_t i) {
  end_ = i + 1;
  first_ = std::max<int64_t>(0, end_ - chunk_);
  c10::BFloat16* rounded =
      product_condition_.is_same(condition_) ? nullptr : product_condition_.data_ptr<c10::BFloat16>();
  rows::run(rows::Condition{(end_ - first_) * rows_, width_, numbers(y_), rows_, numbers(times_) + first_ * width_,
                            numbers(condition_), rounded},
            y_.device());
  if (int8_) rounded_condition_ = rounded_rows(condition_);
  modulate(scale_, condition_, final_scale_weight_);
  multiply(shift_, condition_, folded_shift_, output_bias_);
}

template <class T>
Tensor FusedHead::evaluate_in(const Tensor& x, int64_t step, const Tensor& guidance) {
  const int64_t w = width_, last = static_cast<int64_t>(blocks_.size()) - 1;
  const auto device = x_.device();
  const bool fresh = step < first_ || step >= end_;
  if (fresh) begin_chunk(step);
  const int64_t at = (step - first_) * rows_;  // of this step's rows among the chunk's
  const auto modulation = [&](int64_t block) -> Tensor& {
    return modulation_[static_cast<size_t>(block) % modulation_.size()];
  };
  const auto modulation_rows = [&](int64_t block) { return modulation(block).template data_ptr<T>() + at * 3 * w; };
  // What block `k` adds to the residual stream, and the input layer's rows for -1.
  const auto residual = [&](int64_t k) -> rows::Residual<T> {
    if (k < 0) return {numbers(x_), nullptr, 0, nullptr, nullptr, numbers(input_bias_), numbers(input_), x.size(0)};
    const Block& b = blocks_[static_cast<size_t>(k)];
    return {numbers(x_),           modulation_rows(k) + 2 * w, 3 * w,   numbers(b.modulation_bias) + 2 * w,
            branch_.data_ptr<T>(), numbers(b.mlp2_bias),       nullptr, 0};
  };
  Tensor input = input_.slice(0, 0, x.size(0));
  multiply(input, x.contiguous(), input_weight_);
  for (int64_t k = 0; k <= last; ++k) {
    const Block& b = blocks_[static_cast<size_t>(k)];
    if (fresh) modulate(modulation(k), product_condition_, b.modulation);
    rows::run(rows::EnterBlock<T>{rows_, w, residual(k - 1), b.eps, numbers(b.norm_weight), numbers(b.norm_bias),
                                  modulation_rows(k), 3 * w, numbers(b.modulation_bias), hidden_.data_ptr<T>()},
              device);
    multiply(branch_, hidden_, b.mlp0);
    rows::run(rows::Activate<T>{rows_, w, branch_.data_ptr<T>(), numbers(b.mlp0_bias), hidden_.data_ptr<T>()}, device);
    multiply(branch_, hidden_, b.mlp2);
  }
  const Tensor shift = shift_.slice(0, at, at + rows_);
  const float* scale = numbers(scale_) + at * w;
  const int64_t outputs = output_bias_.size(0);
  Tensor out = at::empty({guidance.defined() ? x.size(0) : rows_, outputs}, shift.options());
  if (rows::supports_row_length(device, w)) {
    rows::run(rows::FinalLayer<T>{rows_, w, residual(last), Head::final_eps(), scale, numbers(final_scale_bias_),
                                  numbers(final_weight_.matrix), outputs, numbers(shift),
                                  guidance.defined() ? numbers(guidance) : nullptr, numbers(out)},
              device);
    return out;
  }
  rows::run(rows::LeaveBlocks<T>{rows_, w, residual(last), Head::final_eps(), scale, numbers(final_scale_bias_),
                                 numbers(normed_)},
            device);
  multiply(out, normed_, final_weight_, shift);
  return out;
}

Tensor FusedHead::evaluate(const Tensor& x, int64_t i, const Tensor& guidance) {
  check(x.size(0) > 0 && rows_ % x.size(0) == 0 && i >= 0 && i < times_.size(0), "FusedHead: ", x.size(0),
        " rows at inner step ", i, ", begun with ", rows_, " rows and ", rows_ ? times_.size(0) : 0, " steps");
  return type_ == at::kFloat ? evaluate_in<float>(x, i, guidance) : evaluate_in<c10::BFloat16>(x, i, guidance);
}

Denoised FusedHead::guided(const Tensor& x, int64_t i, const Tensor& scale) {
  check(2 * x.size(0) == rows_, "FusedHead: ", x.size(0), " guided rows, begun with ", rows_);
  return rows::supports_row_length(x_.device(), width_) ? plain_output(evaluate(x, i, scale))
                                                        : guided_output(evaluate(x, i, {}), scale);
}

}  // namespace crescendo
