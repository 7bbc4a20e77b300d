#include "crescendo/diffusion/head.h"

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>

#include "crescendo/nn/linear_product.h"

namespace crescendo {

namespace {

constexpr int64_t kSinusoids = 256;
constexpr double kEps = 1e-6;

// 128 cosines, then 128 sines, of t exp(-ln(10000) k / 128).
Tensor sinusoids(const Tensor& t) {
  constexpr int64_t half = kSinusoids / 2;
  const Tensor k = at::arange(half, t.options().dtype(at::kFloat));
  const Tensor angles = t.to(at::kFloat).unsqueeze(1) * at::exp(k * (-std::log(10000.0) / half));  // (M, 128)
  return at::cat({at::cos(angles), at::sin(angles)}, 1);                                           // (M, 256)
}

// In fp32 whatever the weights are in, and under autocast too: at t = 999 an error in eps is multiplied by hundreds.
Tensor exact_linear(const Linear& layer, const Tensor& x) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return linear(x.to(at::kFloat), layer.weight.to(at::kFloat), layer.bias.to(at::kFloat));
}

Tensor modulate(const Tensor& x, const Tensor& shift, const Tensor& scale) { return x * (1 + scale) + shift; }

}  // namespace

Head::Block::Block(const Scope& scope, int64_t width)
    : in_ln(scope / "in_ln", width, kEps),
      mlp0(scope / "mlp.0", width, width),
      mlp2(scope / "mlp.2", width, width),
      modulation(scope / "adaLN_modulation.1", width, 3 * width, Init::kZeros) {}

Tensor Head::Block::operator()(const Tensor& x, const Tensor& silu_y) const {
  const auto m = modulation(silu_y).chunk(3, -1);  // shift, scale, gate: (M, W) or (1, W)
  return x + m[2] * mlp2(at::silu(mlp0(modulate(in_ln(x), m[0], m[1]))));
}

Head::Head(const Scope& scope, const HeadConfig& c)
    : config_(c),
      time0_(scope / "time_embed.mlp.0", kSinusoids, c.width, Init::kNormal002),
      time2_(scope / "time_embed.mlp.2", c.width, c.width, Init::kNormal002),
      cond_embed_(scope / "cond_embed", c.condition_width, c.width) {
  if (c.level_input) level_embed_ = Linear(scope / "index_cond_embed", 1, c.width);
  input_proj_ = Linear(scope / "input_proj", c.token_channels, c.width);
  for (int64_t i = 0; i < c.blocks; ++i) blocks_.emplace_back(scope / "res_blocks" / i, c.width);
  final_modulation_ = Linear(scope / "final_layer.adaLN_modulation.1", c.width, 2 * c.width, Init::kZeros);
  final_linear_ = Linear(scope / "final_layer.linear", c.width, 2 * c.token_channels, Init::kZeros);
}

double Head::final_eps() { return kEps; }

Tensor Head::time_embedding(const Tensor& t) const {
  return time2_(at::silu(time0_(sinusoids(t).to(time0_.weight.scalar_type()))));
}

Tensor Head::condition(const Tensor& z, const Tensor& level) const {
  const Tensor y = cond_embed_(z);
  return config_.level_input ? y + level_embed_(level.to(y.options())) : y;
}

Tensor Head::forward(const Tensor& x_t, const Tensor& y) const {
  const Tensor silu_y = at::silu(y);
  Tensor x = exact_linear(input_proj_, x_t);  // (M, W) fp32, like every sum of the residual stream
  for (const Block& block : blocks_) x = block(x, silu_y);
  const auto m = exact_linear(final_modulation_, silu_y).chunk(2, -1);
  return exact_linear(final_linear_,
                      modulate(at::layer_norm(x, {config_.width}, {}, {}, kEps), m[0], m[1]));  // (M, 2C)
}

}  // namespace crescendo
