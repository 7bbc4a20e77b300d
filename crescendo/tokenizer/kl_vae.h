// image <-> latent: the KL-VAE of latent diffusion (Rombach et al. 2022), as FAR and MAR use it.
//
// encode: image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, H/f, W/f), mean and log-variance of a Gaussian.
// decode: latent (B, C, H/f, W/f) -> image. f = unshuffle * 2^(levels - 1).
// Parameters carry the published names. The latent scale, which gives latents unit variance, is applied here alone:
// everything outside works with latents as to_latent() gives them and decode_latent() takes them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crescendo/core/fields.h"
#include "crescendo/nn/params.h"

namespace crescendo {

struct KlVaeConfig {
  int64_t image_channels = 3;
  int64_t base_channels = 128;
  std::vector<int64_t> multipliers = {1, 1, 2, 2, 4};
  int64_t residual_blocks = 2;
  int64_t decoder_blocks = 0;
  int64_t latent_channels = 16;                 // C
  std::vector<int64_t> attention_levels = {4};  // published: side 16 of a 256 x 256 image, whatever the image's side
  bool middle = true;
  bool middle_attention = true;
  int64_t unshuffle = 1;
  int64_t norm_groups = 32;
  double latent_scale = 0.2325;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("image_channels", s.image_channels, "channels of the image");
    v("base_channels", s.base_channels, "channels of the first level");
    v("multipliers", s.multipliers, "channels of each level over base_channels; each level after the first halves");
    v("residual_blocks", s.residual_blocks, "residual blocks per level of the encoder");
    v("decoder_blocks", s.decoder_blocks, "residual blocks per level of the decoder; 0: one more than the encoder's");
    v("latent_channels", s.latent_channels, "channels of the latent");
    v("attention_levels", s.attention_levels, "levels of the encoder with self-attention, counted from 0");
    v("middle", s.middle, "two more residual blocks at the lowest resolution, in encoder and decoder");
    v("middle_attention", s.middle_attention, "self-attention between these two");
    v("unshuffle", s.unshuffle, "side of the square of pixels that the first layer takes as channels; 1: none");
    v("norm_groups", s.norm_groups, "groups of the group norms");
    v("latent_scale", s.latent_scale, "1 / standard deviation of the latents over the training data");
  }

  int64_t factor() const { return unshuffle << (multipliers.size() - 1); }  // f
  int64_t blocks_up() const { return decoder_blocks > 0 ? decoder_blocks : residual_blocks + 1; }
  int64_t pixel_channels() const { return image_channels * unshuffle * unshuffle; }
  // Throws where sizes contradict each other.
  void validate() const;
};

inline constexpr std::array<std::string_view, 2> kKlVaePresets = {"kl16", "shapes-64"};
// "kl16": factor 16, 16 channels, as published (83.8 M parameters). "shapes-64": factor 4, 3 channels, 0.28 M.
KlVaeConfig kl_vae_preset(std::string_view name);

// While one lives, convolutions of this thread compute in `dtype`; everything between them keeps its own. Where a GPU
// normalises with the program's own kernel, what only a convolution or a norm reads is in `dtype`, too.
class ConvolutionDtype {
 public:
  explicit ConvolutionDtype(at::ScalarType dtype);
  ~ConvolutionDtype();
  ConvolutionDtype(const ConvolutionDtype&) = delete;
  ConvolutionDtype& operator=(const ConvolutionDtype&) = delete;

 private:
  std::optional<at::ScalarType> before_;
};

// A convolution's parameters in another type and channels last, kept until the parameters change: in place, or by
// Params::to. All who use it share a stream.
class ConvertedParams {
 public:
  // (weight, bias)
  std::pair<Tensor, Tensor> get(const Tensor& weight, const Tensor& bias, at::ScalarType dtype);

 private:
  // What tells a tensor's numbers from those that it had or will have.
  struct Origin {
    const void* data = nullptr;
    int64_t version = 0;
    bool operator==(const Origin&) const = default;
  };
  static Origin origin(const Tensor& t) { return {t.data_ptr(), static_cast<int64_t>(t._version())}; }

  std::mutex mutex_;
  Origin weight_origin_, bias_origin_;
  Tensor weight_, bias_;
};

struct Conv2d {
  Conv2d() = default;
  Conv2d(const Scope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1);
  Tensor operator()(const Tensor& x) const;  // (B, in, H, W) -> (B, out, H', W'); keeps the side at stride 1
  Tensor weight;                             // (out, in, kernel, kernel)
  Tensor bias;                               // (out)
  int64_t stride = 1;

 private:
  std::shared_ptr<ConvertedParams> converted_ = std::make_shared<ConvertedParams>();
};

struct GroupNorm {
  GroupNorm(const Scope& scope, int64_t channels, int64_t groups);
  // In x's type, or where the program's own kernel serves, in the type of the convolution that comes next.
  Tensor operator()(const Tensor& x) const;
  Tensor activated(const Tensor& x) const;  // SiLU behind it
  int64_t groups;
  Tensor weight, bias;  // (channels)
};

struct ResidualBlock {
  ResidualBlock(const Scope& scope, int64_t in, int64_t out, int64_t groups);
  Tensor operator()(const Tensor& x) const;  // (B, in, H, W) -> (B, out, H, W)
  GroupNorm norm1;
  Conv2d conv1;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> nin_shortcut;
};

// One head over all positions.
struct SpatialAttention {
  SpatialAttention(const Scope& scope, int64_t channels, int64_t groups);
  Tensor operator()(const Tensor& x) const;  // (B, channels, H, W)
  GroupNorm norm;
  Conv2d q, k, v, proj_out;
};

// A resolution of the encoder or decoder. `resample` halves or doubles the side at its end.
struct VaeLevel {
  std::vector<ResidualBlock> blocks;
  std::vector<SpatialAttention> attention;  // empty, or one behind each block
  std::optional<Conv2d> resample;
};

struct VaeMiddle {
  VaeMiddle(const Scope& scope, int64_t channels, const KlVaeConfig& config);
  Tensor operator()(const Tensor& x) const;
  ResidualBlock block_1;
  std::optional<SpatialAttention> attn_1;
  ResidualBlock block_2;
};

class KlVae {
 public:
  static std::unique_ptr<KlVae> random(const KlVaeConfig& config, uint64_t seed);
  // Takes the tensors as they are; throws with names where they do not fit. Names in "loss." may be left over.
  static std::unique_ptr<KlVae> from(const KlVaeConfig& config, TensorMap weights, const std::string& source_name);

  // (B, 3, H, W) in [-1, 1] -> (B, 2C, H/f, W/f): mean and raw log-variance, fp32.
  Tensor encode_moments(const Tensor& image) const;
  // (B, C, h, w), already divided by the latent scale -> (B, 3, f h, f w), fp32 and not clipped.
  Tensor decode(const Tensor& latents) const;
  // Of the convolutions and attention products that decode a latent of these sides; a multiply-add is two.
  double decode_flop(int64_t height, int64_t width) const;

  // moments -> latent with unit variance: (mean + std * noise) * latent_scale; the mean alone where noise is undefined.
  Tensor to_latent(const Tensor& moments, const Tensor& noise = {}) const;
  // The way back: latent with unit variance -> image. Convolutions may run in bf16, what is between them in fp32.
  Tensor decode_latent(const Tensor& latent, at::ScalarType convolutions = at::kFloat) const;

  const KlVaeConfig& config() const { return config_; }
  void set_latent_scale(double scale);
  Params& params() { return params_; }
  const Params& params() const { return params_; }
  at::Device device() const { return params_.items().front().second.device(); }
  at::ScalarType dtype() const { return params_.items().front().second.scalar_type(); }

 private:
  KlVae(const KlVaeConfig& config, Params params);
  KlVaeConfig config_;
  Params params_;
  Conv2d encoder_in_;
  std::vector<VaeLevel> down_;
  std::optional<VaeMiddle> encoder_middle_;
  GroupNorm encoder_norm_;
  Conv2d encoder_out_;
  Conv2d quant_conv_;
  Conv2d post_quant_conv_;
  Conv2d decoder_in_;
  std::optional<VaeMiddle> decoder_middle_;
  std::vector<VaeLevel> up_;  // in the order of the names: up.0 has the highest resolution and runs last
  GroupNorm decoder_norm_;
  Conv2d decoder_out_;
};

// The log-variance is clamped to this range wherever it is used.
inline constexpr double kMinLogVariance = -30.0, kMaxLogVariance = 20.0;

// Halves of moments (B, 2C, h, w), the log-variance clamped.
Tensor posterior_mean(const Tensor& moments);          // (B, C, h, w)
Tensor posterior_log_variance(const Tensor& moments);  // (B, C, h, w)
// mean + std * noise, with noise (B, C, h, w); the mean where noise is undefined.
Tensor sample_posterior(const Tensor& moments, const Tensor& noise = {});
// KL(q || N(0, 1)) of each image in nats: (B).
Tensor kl_divergence(const Tensor& moments);

// The sizes behind published weights, read from names and shapes. `norm_groups` and `latent_scale` leave no trace
// there: they take the published values.
KlVaeConfig kl_vae_config_from(const TensorMap& weights, const std::string& source_name);
std::unique_ptr<KlVae> kl_vae_from_checkpoint(TensorMap weights, const std::string& source_name);

}  // namespace crescendo
