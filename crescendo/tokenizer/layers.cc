#include "crescendo/tokenizer/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "crescendo/kernels/group_norm.h"

namespace crescendo {

namespace {

constexpr double kNormEps = 1e-6;

thread_local std::optional<at::ScalarType> g_convolution_dtype;

at::ScalarType convolution_dtype(const Tensor& x) { return g_convolution_dtype.value_or(x.scalar_type()); }

// x + other. In place of x, which is a temporary, where no gradient needs x and its type can hold the sum.
Tensor sum(Tensor x, const Tensor& other) {
  return at::GradMode::is_enabled() || x.scalar_type() != other.scalar_type() ? other + x : x.add_(other);
}

// Whether x goes the way of the program's own kernel for group norms: between two layers nothing is copied there, as
// all stays channels last and norms and convolutions return the type that the next one takes.
bool own_kernel(const Tensor& x) {
  const auto known = [](at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; };
  return !at::GradMode::is_enabled() && groups::serves(x.device()) && known(x.scalar_type()) &&
         known(convolution_dtype(x));
}

template <class In, class Out>
Tensor normalised(const GroupNorm& norm, const Tensor& x, bool silu) {
  const Tensor in = x.contiguous(at::MemoryFormat::ChannelsLast);
  Tensor out = at::empty(x.sizes(), x.options().dtype(convolution_dtype(x)), at::MemoryFormat::ChannelsLast);
  const Tensor weight = norm.weight.to(at::kFloat).contiguous(), bias = norm.bias.to(at::kFloat).contiguous();
  const int64_t images = x.size(0), channels = x.size(1), positions = x.size(2) * x.size(3);
  const Tensor scratch =
      at::empty({groups::scratch_bytes(images, channels, norm.groups)}, x.options().dtype(at::kByte));
  groups::run(groups::GroupNormPass<In, Out>{images, positions, channels, norm.groups, in.data_ptr<In>(),
                                             weight.data_ptr<float>(), bias.data_ptr<float>(), kNormEps, silu,
                                             out.data_ptr<Out>(), scratch.data_ptr()});
  return out;
}

Tensor normalised(const GroupNorm& norm, const Tensor& x, bool silu) {
  using Half = at::BFloat16;
  if (x.scalar_type() == at::kFloat)
    return convolution_dtype(x) == at::kFloat ? normalised<float, float>(norm, x, silu)
                                              : normalised<float, Half>(norm, x, silu);
  return convolution_dtype(x) == at::kFloat ? normalised<Half, float>(norm, x, silu)
                                            : normalised<Half, Half>(norm, x, silu);
}

}  // namespace

Conv2d::Conv2d(const Scope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride)
    : weight(scope.add("weight", {out, in, kernel, kernel}, Init::kKaimingUniform)),
      bias(scope.add("bias", {out}, Init::kZeros)),
      stride(stride) {}

ConvolutionDtype::ConvolutionDtype(at::ScalarType dtype) : before_(g_convolution_dtype) { g_convolution_dtype = dtype; }
ConvolutionDtype::~ConvolutionDtype() { g_convolution_dtype = before_; }

std::pair<Tensor, Tensor> ConvertedParams::get(const Tensor& weight, const Tensor& bias, at::ScalarType dtype) {
  const std::lock_guard lock(mutex_);
  const bool kept = weight_.defined() && weight_.scalar_type() == dtype && weight_origin_ == origin(weight) &&
                    bias_origin_ == origin(bias);
  if (!kept) {
    weight_ = weight.to(dtype, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::ChannelsLast);
    bias_ = bias.to(dtype);
    weight_origin_ = origin(weight), bias_origin_ = origin(bias);
  }
  return {weight_, bias_};
}

Tensor Conv2d::operator()(const Tensor& x) const {
  const at::ScalarType dtype = convolution_dtype(x);
  // Weights that are trained are not cached: optimizers change them without a new version counter.
  const bool keeps = own_kernel(x) && !weight.requires_grad() && !bias.requires_grad();
  const auto [own_weight, own_bias] =
      keeps ? converted_->get(weight, bias, dtype) : std::pair(weight.to(dtype), bias.to(dtype));
  const auto convolve = [&, &w = own_weight, &b = own_bias](const Tensor& in, int64_t padding) {
    return at::conv2d(in.to(dtype), w, b, stride, padding).to(x.scalar_type());
  };
  // Stride 2 pads right and bottom by one, as published, which no symmetric padding can express.
  return stride == 2 ? convolve(at::constant_pad_nd(x, {0, 1, 0, 1}), 0) : convolve(x, weight.size(2) / 2);
}

GroupNorm::GroupNorm(const Scope& scope, int64_t channels, int64_t groups)
    : groups(groups),
      weight(scope.add("weight", {channels}, Init::kOnes)),
      bias(scope.add("bias", {channels}, Init::kZeros)) {}

Tensor GroupNorm::operator()(const Tensor& x) const {
  return own_kernel(x) ? normalised(*this, x, /*silu=*/false) : at::group_norm(x, groups, weight, bias, kNormEps);
}

Tensor GroupNorm::activated(const Tensor& x) const {
  if (own_kernel(x)) return normalised(*this, x, /*silu=*/true);
  Tensor h = (*this)(x);
  return at::GradMode::is_enabled() ? at::silu(h) : at::silu_(h);
}

ResidualBlock::ResidualBlock(const Scope& scope, int64_t in, int64_t out, int64_t groups)
    : norm1(scope / "norm1", in, groups),
      conv1(scope / "conv1", in, out, 3),
      norm2(scope / "norm2", out, groups),
      conv2(scope / "conv2", out, out, 3) {
  if (in != out) nin_shortcut.emplace(scope / "nin_shortcut", in, out, 1);
}

Tensor ResidualBlock::operator()(const Tensor& x) const {
  // Assigned one by one, so that each intermediate result is freed early: at full size they dominate the memory.
  Tensor h = norm1.activated(x);
  h = conv1(h);
  h = norm2.activated(h);
  h = conv2(h);
  return sum(std::move(h), nin_shortcut ? (*nin_shortcut)(x) : x);
}

SpatialAttention::SpatialAttention(const Scope& scope, int64_t channels, int64_t groups)
    : norm(scope / "norm", channels, groups),
      q(scope / "q", channels, channels, 1),
      k(scope / "k", channels, channels, 1),
      v(scope / "v", channels, channels, 1),
      proj_out(scope / "proj_out", channels, channels, 1) {}

Tensor SpatialAttention::operator()(const Tensor& x) const {
  const Tensor h = norm(x);
  const auto rows = [](const Tensor& t) { return t.flatten(2).transpose(1, 2); };  // (B, channels, H, W) -> (B, HW, .)
  const double scale = 1.0 / std::sqrt(static_cast<double>(x.size(1)));
  const auto of_h = [&](const Conv2d& conv) { return conv(h).to(x.scalar_type()); };
  const Tensor weights = at::softmax(at::matmul(rows(of_h(q)) * scale, of_h(k).flatten(2)), -1);  // (B, HW, HW)
  const Tensor mixed = at::matmul(weights, rows(of_h(v)));                                        // (B, HW, channels)
  return x + proj_out(mixed.transpose(1, 2).reshape(x.sizes()));
}

VaeMiddle::VaeMiddle(const Scope& scope, int64_t channels, const KlVaeConfig& c)
    : block_1(scope / "block_1", channels, channels, c.norm_groups),
      attn_1(c.middle_attention
                 ? std::optional<SpatialAttention>(SpatialAttention(scope / "attn_1", channels, c.norm_groups))
                 : std::nullopt),
      block_2(scope / "block_2", channels, channels, c.norm_groups) {}

Tensor VaeMiddle::operator()(const Tensor& x) const {
  const Tensor h = block_1(x);
  return block_2(attn_1 ? (*attn_1)(h) : h);
}

Tensor VaeLevel::run_blocks(Tensor x) const {
  for (size_t m = 0; m < blocks.size(); ++m) {
    x = blocks[m](x);
    if (!attention.empty()) x = attention[m](x);
  }
  return x;
}

Tensor upsampled(const Tensor& x, const Conv2d& conv) {
  // A GPU rounds what the convolution will round before one value becomes four.
  const Tensor in = own_kernel(x) ? x.to(convolution_dtype(x)) : x;
  return conv(at::upsample_nearest2d(in, {2 * x.size(2), 2 * x.size(3)})).to(x.scalar_type());
}

}  // namespace crescendo
