// The places where LibTorch 1.13 and 2.x differ; nothing else in the project asks for a version.
#pragma once

#include <ATen/autocast_mode.h>
#include <torch/version.h>

namespace crescendo {

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
