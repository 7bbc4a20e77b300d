// The places where LibTorch 1.13 and 2.x differ; nothing else in the project asks for a version.
#pragma once

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/version.h>

#include <optional>

#include "crescendo/core/tensor.h"

#if TORCH_VERSION_MAJOR >= 2
#include <ATen/ops/scaled_dot_product_attention.h>
#endif

namespace crescendo {

// softmax(q k^T / sqrt(d) + bias) v by LibTorch's own kernel, which does not write the scores down; q, k, v are
// (B, heads, N, d). Null where there is none: LibTorch 1.13 has none for a bias.
inline std::optional<Tensor> fused_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const std::optional<Tensor>& bias) {
#if TORCH_VERSION_MAJOR >= 2
  return bias ? at::scaled_dot_product_attention(q, k, v, *bias) : at::scaled_dot_product_attention(q, k, v);
#else
  (void)q, (void)k, (void)v, (void)bias;
  return std::nullopt;
#endif
}

// While it lives, products of fp32 on a GPU round their factors to TF32 (8 bits of exponent, 10 of mantissa) where
// `on`.
class Tf32Products {
 public:
  explicit Tf32Products(bool on) : on_(on) {
    if (!on_) return;  // what is shared by all threads is left alone
    before_ = at::globalContext().allowTF32CuBLAS();
    at::globalContext().setAllowTF32CuBLAS(true);
  }
  ~Tf32Products() {
    if (on_) at::globalContext().setAllowTF32CuBLAS(before_);
  }
  Tf32Products(const Tf32Products&) = delete;
  Tf32Products& operator=(const Tf32Products&) = delete;

 private:
  bool on_, before_ = false;
};

// In what products of fp32 on a CPU are computed here: bf16 under autocast, else fp32.
inline at::ScalarType cpu_autocast_dtype() {
#if TORCH_VERSION_MAJOR >= 2
  return at::autocast::is_autocast_enabled(at::kCPU) ? at::autocast::get_autocast_dtype(at::kCPU) : at::kFloat;
#else
  return at::autocast::is_cpu_enabled() ? at::autocast::get_autocast_cpu_dtype() : at::kFloat;
#endif
}

// While it lives, matrix products on `device` run in `dtype` over fp32 parameters (mixed precision). Does nothing for
// fp32.
class Autocast {
 public:
  Autocast(at::DeviceType device, at::ScalarType dtype) : device_(device), on_(dtype != at::kFloat) {
    if (!on_) return;
#if TORCH_VERSION_MAJOR >= 2
    at::autocast::set_autocast_dtype(device, dtype);
    at::autocast::set_autocast_enabled(device, true);
#else
    if (device == at::kCPU) {
      at::autocast::set_autocast_cpu_dtype(dtype);
      at::autocast::set_cpu_enabled(true);
    } else {
      at::autocast::set_autocast_gpu_dtype(dtype);
      at::autocast::set_enabled(true);
    }
#endif
    // No copies of the parameters in low precision are kept: each is used once, and threads would share them.
    cached_ = at::autocast::is_autocast_cache_enabled();
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_autocast_cache_enabled(cached_);
#if TORCH_VERSION_MAJOR >= 2
    at::autocast::set_autocast_enabled(device_, false);
#else
    if (device_ == at::kCPU)
      at::autocast::set_cpu_enabled(false);
    else
      at::autocast::set_enabled(false);
#endif
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType device_;
  bool on_;
  bool cached_ = false;
};

}  // namespace crescendo
