#include "crescendo/core/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cstdlib>
#include <thread>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "crescendo/core/check.h"

namespace crescendo {

at::Device parse_device(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::kCPU;
  const bool numbered = name.size() > 5 && name.size() < 9 && name.starts_with("cuda:") &&
                        name.find_first_not_of("0123456789", 5) == std::string::npos;
  check_usage(name == "cuda" || numbered, "`device` must be auto, cpu, cuda or cuda:N, got '", name, "'");
  check(at::hasCUDA(), "`device` ", name, ": this LibTorch sees no CUDA device; use `device` cpu");
  const int index = numbered ? std::stoi(name.substr(5)) : 0;
  const auto devices = static_cast<int>(at::detail::getCUDAHooks().getNumGPUs());
  check_usage(index < devices, "`device` ", name, ": there are ", devices, " CUDA devices, numbered from 0");
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "fp16") return at::kHalf;
  usage_error("`dtype` must be fp32, bf16 or fp16, got '", name, "'");
}

std::string precision_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    case at::kDouble:
      return "fp64";
    default:
      return at::toString(type);
  }
}

void set_up_torch(int64_t count) {
  at::globalContext().setAllowTF32CuDNN(false);
  const auto cores = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  check_usage(count >= 0 && count <= 4096, "`threads` must be in 0..4096, got ", count);
  if (const char* given = std::getenv("OMP_NUM_THREADS"); count == 0 && given && *given) return;  // has been heeded
  at::set_num_threads(static_cast<int>(count == 0 ? cores : count));
}

bool cpu_has_bf16() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__) && defined(__linux__) && defined(HWCAP2_BF16)
  return (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
  return false;
#endif
}

int64_t threads() { return at::get_num_threads(); }

std::string device_description(at::Device device) {
  return device.is_cpu() ? concat("CPU, ", threads(), threads() == 1 ? " thread" : " threads") : device.str();
}

}  // namespace crescendo
