#include "crescendo/tokenizer/kl_vae.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"
#include "crescendo/kernels/group_norm.h"

namespace crescendo {

namespace {

constexpr double kNormEps = 1e-6;

bool contains(const std::vector<int64_t>& list, int64_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// Channels of level i, and those that enter it in the encoder.
int64_t channels_of(const KlVaeConfig& c, int64_t level) { return c.base_channels * c.multipliers.at(level); }
int64_t channels_into(const KlVaeConfig& c, int64_t level) {
  return level == 0 ? c.base_channels : channels_of(c, level - 1);
}
int64_t last_level(const KlVaeConfig& c) { return static_cast<int64_t>(c.multipliers.size()) - 1; }

std::vector<VaeLevel> make_down(const Scope& s, const KlVaeConfig& c) {
  std::vector<VaeLevel> levels;
  for (int64_t i = 0; i <= last_level(c); ++i) {
    VaeLevel& level = levels.emplace_back();
    const int64_t width = channels_of(c, i);
    for (int64_t m = 0; m < c.residual_blocks; ++m) {
      level.blocks.emplace_back(s / i / "block" / m, m == 0 ? channels_into(c, i) : width, width, c.norm_groups);
      if (contains(c.attention_levels, i)) level.attention.emplace_back(s / i / "attn" / m, width, c.norm_groups);
    }
    if (i < last_level(c)) level.resample.emplace(s / i / "downsample" / "conv", width, width, 3, /*stride=*/2);
  }
  return levels;
}

std::vector<VaeLevel> make_up(const Scope& s, const KlVaeConfig& c) {
  std::vector<VaeLevel> levels;
  for (int64_t i = 0; i <= last_level(c); ++i) {
    VaeLevel& level = levels.emplace_back();
    const int64_t width = channels_of(c, i), before = channels_of(c, std::min(i + 1, last_level(c)));
    for (int64_t m = 0; m < c.blocks_up(); ++m)
      level.blocks.emplace_back(s / i / "block" / m, m == 0 ? before : width, width, c.norm_groups);
    if (i > 0) level.resample.emplace(s / i / "upsample" / "conv", width, width, 3);
  }
  return levels;
}

Tensor run_blocks(const VaeLevel& level, Tensor x) {
  for (size_t m = 0; m < level.blocks.size(); ++m) {
    x = level.blocks[m](x);
    if (!level.attention.empty()) x = level.attention[m](x);
  }
  return x;
}

thread_local std::optional<at::ScalarType> g_convolution_dtype;

at::ScalarType convolution_dtype(const Tensor& x) { return g_convolution_dtype.value_or(x.scalar_type()); }

// x + other. In place of x, which is a temporary, where no gradient needs x and its type can hold the sum.
Tensor sum(Tensor x, const Tensor& other) {
  return at::GradMode::is_enabled() || x.scalar_type() != other.scalar_type() ? other + x : x.add_(other);
}

// Whether x goes the way of the program's own kernel for group norms: between two layers nothing is copied there, as
// all stays channels last and norms and convolutions answer in the type that the next one takes.
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

const Tensor& weight_named(const TensorMap& weights, const std::string& name, const std::string& source) {
  const auto it = weights.find(name);
  check(it != weights.end(), source, " is no KL-VAE: it has no tensor ", name);
  check(it->second.dim() == 4, source, ": ", name, " must have 4 dimensions, got ", it->second.sizes());
  return it->second;
}

}  // namespace

//----------------------------------------------------------------------------
// Sizes.

void KlVaeConfig::validate() const {
  check_usage(image_channels > 0 && base_channels > 0 && latent_channels > 0 && norm_groups > 0,
              "tokenizer: channels and groups must be positive");
  check_usage(!multipliers.empty() && multipliers.size() <= 16, "tokenizer: multipliers must name 1 to 16 levels");
  check_usage(residual_blocks > 0, "tokenizer: residual_blocks must be positive, got ", residual_blocks);
  check_usage(decoder_blocks >= 0, "tokenizer: decoder_blocks must be at least 0, got ", decoder_blocks);
  check_usage(unshuffle > 0 && unshuffle <= 64, "tokenizer: unshuffle must be in 1..64, got ", unshuffle);
  check_usage(std::isfinite(latent_scale) && latent_scale > 0, "tokenizer: latent_scale must be positive, got ",
              latent_scale);
  for (const int64_t m : multipliers)
    check_usage(m > 0 && base_channels * m % norm_groups == 0 && base_channels % norm_groups == 0,
                "tokenizer: ", base_channels, " x ", m, " channels do not fall into ", norm_groups,
                " norm groups; set norm_groups to a divisor");
  for (const int64_t level : attention_levels)
    check_usage(level >= 0 && level <= last_level(*this), "tokenizer: attention_levels must be in 0..",
                last_level(*this), ", got ", level);
}

KlVaeConfig kl_vae_preset(std::string_view name) {
  if (name == "kl16") return {};
  if (name == "shapes-64")
    return {.base_channels = 64,
            .multipliers = {1},
            .residual_blocks = 1,
            .latent_channels = 3,
            .attention_levels = {},
            .middle = false,
            .middle_attention = false,
            .unshuffle = 4,
            .norm_groups = 16,
            .latent_scale = 1.0};
  usage_error("no tokenizer preset '", name, "'; there are ", join(kKlVaePresets));
}

KlVaeConfig kl_vae_config_from(const TensorMap& weights, const std::string& source) {
  const auto named = [&](const std::string& name) { return weight_named(weights, name, source); };
  const auto has = [&](const std::string& name) { return weights.contains(name); };
  KlVaeConfig c;
  const Tensor first = named("encoder.conv_in.weight");  // (base, 3 u u, 3, 3)
  c.base_channels = first.size(0);
  c.unshuffle = std::llround(std::sqrt(static_cast<double>(first.size(1)) / static_cast<double>(c.image_channels)));
  check(c.base_channels > 0 && c.pixel_channels() == first.size(1), source, ": encoder.conv_in takes ", first.size(1),
        " channels, which are not 3 times a square");
  c.latent_channels = named("post_quant_conv.weight").size(1);
  c.multipliers.clear();
  c.attention_levels.clear();
  for (int64_t i = 0; has(concat("encoder.down.", i, ".block.0.conv1.weight")); ++i) {
    const int64_t width = named(concat("encoder.down.", i, ".block.0.conv1.weight")).size(0);
    check(width % c.base_channels == 0, source, ": level ", i, " has ", width, " channels, no multiple of ",
          c.base_channels);
    c.multipliers.push_back(width / c.base_channels);
    if (has(concat("encoder.down.", i, ".attn.0.q.weight"))) c.attention_levels.push_back(i);
  }
  check(!c.multipliers.empty(), source, " is no KL-VAE: it has no tensor encoder.down.0.block.0.conv1.weight");
  c.residual_blocks = 0;
  while (has(concat("encoder.down.0.block.", c.residual_blocks, ".conv1.weight"))) ++c.residual_blocks;
  while (has(concat("decoder.up.0.block.", c.decoder_blocks, ".conv1.weight"))) ++c.decoder_blocks;
  if (c.decoder_blocks == c.residual_blocks + 1) c.decoder_blocks = 0;  // as published
  c.middle = has("encoder.mid.block_1.conv1.weight");
  c.middle_attention = has("encoder.mid.attn_1.q.weight");
  try {
    c.validate();
  } catch (const Error& e) {
    fail(source, ": ", e.what());  // a fault of the file, not of the command line
  }
  return c;
}

//----------------------------------------------------------------------------
// Layers.

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

//----------------------------------------------------------------------------
// The whole.

namespace {

// Channels last, in which convolutions run faster on a CPU and in bf16, and every layer hands it on. Gradients of small
// convolutions do not gain.
Tensor laid_out(const Tensor& x) {
  return at::GradMode::is_enabled() ? x : x.contiguous(at::MemoryFormat::ChannelsLast);
}

// Twice the side. A GPU rounds what the convolution will round before one number becomes four.
Tensor upsampled(const Tensor& x, const Conv2d& conv) {
  const Tensor in = own_kernel(x) ? x.to(convolution_dtype(x)) : x;
  return conv(at::upsample_nearest2d(in, {2 * x.size(2), 2 * x.size(3)})).to(x.scalar_type());
}

std::optional<VaeMiddle> make_middle(const Scope& scope, const KlVaeConfig& c) {
  if (!c.middle) return std::nullopt;
  return VaeMiddle(scope, channels_of(c, last_level(c)), c);
}

}  // namespace

KlVae::KlVae(const KlVaeConfig& c, Params params)
    : config_((c.validate(), c)),
      params_(std::move(params)),
      encoder_in_(Scope(params_) / "encoder" / "conv_in", c.pixel_channels(), c.base_channels, 3),
      down_(make_down(Scope(params_) / "encoder" / "down", c)),
      encoder_middle_(make_middle(Scope(params_) / "encoder" / "mid", c)),
      encoder_norm_(Scope(params_) / "encoder" / "norm_out", channels_of(c, last_level(c)), c.norm_groups),
      encoder_out_(Scope(params_) / "encoder" / "conv_out", channels_of(c, last_level(c)), 2 * c.latent_channels, 3),
      quant_conv_(Scope(params_) / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels, 1),
      post_quant_conv_(Scope(params_) / "post_quant_conv", c.latent_channels, c.latent_channels, 1),
      decoder_in_(Scope(params_) / "decoder" / "conv_in", c.latent_channels, channels_of(c, last_level(c)), 3),
      decoder_middle_(make_middle(Scope(params_) / "decoder" / "mid", c)),
      up_(make_up(Scope(params_) / "decoder" / "up", c)),
      decoder_norm_(Scope(params_) / "decoder" / "norm_out", channels_of(c, 0), c.norm_groups),
      decoder_out_(Scope(params_) / "decoder" / "conv_out", channels_of(c, 0), c.pixel_channels(), 3) {
  params_.finish();
}

std::unique_ptr<KlVae> KlVae::random(const KlVaeConfig& config, uint64_t seed) {
  return std::unique_ptr<KlVae>(new KlVae(config, Params::random(seed)));
}

std::unique_ptr<KlVae> KlVae::from(const KlVaeConfig& config, TensorMap weights, const std::string& source_name) {
  return std::unique_ptr<KlVae>(new KlVae(config, Params::from(std::move(weights), source_name, {"loss."})));
}

std::unique_ptr<KlVae> kl_vae_from_checkpoint(TensorMap weights, const std::string& source_name) {
  const KlVaeConfig config = kl_vae_config_from(weights, source_name);
  return KlVae::from(config, std::move(weights), source_name);
}

void KlVae::set_latent_scale(double scale) {
  KlVaeConfig changed = config_;
  changed.latent_scale = scale;
  changed.validate();
  config_ = changed;
}

Tensor KlVae::encode_moments(const Tensor& image) const {
  const int64_t f = config_.factor();
  check(image.dim() == 4 && image.size(1) == config_.image_channels, "tokenizer: an image must be (B, ",
        config_.image_channels, ", H, W), got ", image.sizes());
  check(image.is_floating_point(), "tokenizer: an image must hold floats in [-1, 1], got ", image.scalar_type());
  check(image.size(2) > 0 && image.size(3) > 0 && image.size(2) % f == 0 && image.size(3) % f == 0,
        "tokenizer: the sides of an image must be multiples of ", f, ", got ", image.size(2), " x ", image.size(3),
        "; crop or resize it first");
  Tensor x = laid_out(image.to(device(), dtype()));
  if (config_.unshuffle > 1) x = at::pixel_unshuffle(x, config_.unshuffle);
  x = encoder_in_(x);  // (B, base, H/u, W/u)
  for (const VaeLevel& level : down_) {
    x = run_blocks(level, std::move(x));
    if (level.resample) x = (*level.resample)(x);  // half the side
  }
  if (encoder_middle_) x = (*encoder_middle_)(x);
  x = quant_conv_(encoder_out_(encoder_norm_.activated(x)));  // (B, 2C, h, w)
  return x.contiguous().to(at::kFloat);
}

Tensor KlVae::decode(const Tensor& latents) const {
  check(latents.dim() == 4 && latents.size(1) == config_.latent_channels, "tokenizer: latents must be (B, ",
        config_.latent_channels, ", h, w), got ", latents.sizes());
  check(latents.is_floating_point() && latents.size(2) > 0 && latents.size(3) > 0,
        "tokenizer: latents must be floats with sides of 1 or more, got ", latents.sizes(), " of ",
        latents.scalar_type());
  Tensor x = decoder_in_(post_quant_conv_(laid_out(latents.to(device(), dtype()))));
  if (decoder_middle_) x = (*decoder_middle_)(x);
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    x = run_blocks(*level, std::move(x));
    if (level->resample) x = upsampled(x, *level->resample);
  }
  x = decoder_out_(decoder_norm_.activated(x));  // (B, 3 u u, H/u, W/u)
  if (config_.unshuffle > 1) x = at::pixel_shuffle(x, config_.unshuffle);
  return x.contiguous().to(at::kFloat);
}

double KlVae::decode_flop(int64_t height, int64_t width) const {
  auto positions = static_cast<double>(height * width);
  double macs = 0;
  const auto count = [&](const Conv2d& conv) { macs += positions * static_cast<double>(conv.weight.numel()); };
  const auto count_block = [&](const ResidualBlock& block) {
    count(block.conv1);
    count(block.conv2);
    if (block.nin_shortcut) count(*block.nin_shortcut);
  };
  const auto count_attention = [&](const SpatialAttention& a) {
    for (const Conv2d* conv : {&a.q, &a.k, &a.v, &a.proj_out}) count(*conv);
    macs += 2 * positions * positions * static_cast<double>(a.q.weight.size(0));
  };
  count(post_quant_conv_);
  count(decoder_in_);
  if (decoder_middle_) {
    count_block(decoder_middle_->block_1);
    if (decoder_middle_->attn_1) count_attention(*decoder_middle_->attn_1);
    count_block(decoder_middle_->block_2);
  }
  for (auto level = up_.rbegin(); level != up_.rend(); ++level) {
    for (const ResidualBlock& block : level->blocks) count_block(block);
    for (const SpatialAttention& a : level->attention) count_attention(a);
    if (!level->resample) continue;
    positions *= 4;
    count(*level->resample);
  }
  count(decoder_out_);
  return 2 * macs;
}

Tensor KlVae::to_latent(const Tensor& moments, const Tensor& noise) const {
  return sample_posterior(moments, noise) * config_.latent_scale;
}

Tensor KlVae::decode_latent(const Tensor& latent, at::ScalarType convolutions) const {
  std::optional<ConvolutionDtype> low;
  if (convolutions != at::kFloat) low.emplace(convolutions);
  return decode(latent / config_.latent_scale);
}

//----------------------------------------------------------------------------
// The posterior.

Tensor posterior_mean(const Tensor& moments) {
  check(moments.dim() == 4 && moments.size(1) % 2 == 0, "moments must be (B, 2C, h, w), got ", moments.sizes());
  return moments.slice(1, 0, moments.size(1) / 2);
}

Tensor posterior_log_variance(const Tensor& moments) {
  check(moments.dim() == 4 && moments.size(1) % 2 == 0, "moments must be (B, 2C, h, w), got ", moments.sizes());
  return moments.slice(1, moments.size(1) / 2).clamp(kMinLogVariance, kMaxLogVariance);
}

Tensor sample_posterior(const Tensor& moments, const Tensor& noise) {
  const Tensor mean = posterior_mean(moments);
  if (!noise.defined()) return mean;
  check(noise.sizes() == mean.sizes(), "posterior noise must be ", mean.sizes(), ", got ", noise.sizes());
  return mean + (posterior_log_variance(moments) * 0.5).exp() * noise;
}

Tensor kl_divergence(const Tensor& moments) {
  const Tensor mean = posterior_mean(moments), log_variance = posterior_log_variance(moments);
  return (mean.square() + log_variance.exp() - 1.0 - log_variance).sum({1, 2, 3}) * 0.5;  // (B)
}

}  // namespace crescendo
