// Layers of the KL-VAE: convolutions, group norms, and what encoder and decoder are made of. x is (B, channels, H, W).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "crescendo/nn/params.h"
#include "crescendo/tokenizer/config.h"

namespace crescendo {

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
  // Tells a tensor's values from those that it had or will have.
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
  Tensor activated(const Tensor& x) const;  // followed by SiLU
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

// A resolution of the encoder or decoder.
struct VaeLevel {
  Tensor run_blocks(Tensor x) const;
  std::vector<ResidualBlock> blocks;
  std::vector<SpatialAttention> attention;  // empty, or one behind each block
  std::optional<Conv2d> resample;           // halves or doubles the side at its end
};

struct VaeMiddle {
  VaeMiddle(const Scope& scope, int64_t channels, const KlVaeConfig& config);
  Tensor operator()(const Tensor& x) const;
  ResidualBlock block_1;
  std::optional<SpatialAttention> attn_1;
  ResidualBlock block_2;
};

// Twice the side: (B, C, H, W) -> (B, C, 2H, 2W).
Tensor upsampled(const Tensor& x, const Conv2d& conv);

}  // namespace crescendo
