#include "crescendo/metrics/torchscript_extractor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <string_view>
#include <utility>

#include "crescendo/core/check.h"
#include "crescendo/core/fields.h"
#include "crescendo/core/finite.h"
#include "crescendo/core/sha256.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

namespace {

constexpr int64_t kLargestSide = 4096;

// The first line of what LibTorch says, without its stack of calls.
std::string first_line(const std::exception& e) {
  const std::string_view text = e.what();
  return std::string(text.substr(0, text.find('\n')));
}

void check_options(const TorchScriptOptions& o) {
  check_usage(o.side >= 1 && o.side <= kLargestSide, "torchscript: `side` must be in 1..", kLargestSide, ", got ",
              o.side);
  check_usage(o.mean.size() == 3 && o.std.size() == 3,
              "torchscript: `mean` and `std` have a number each for red, green and blue, got ", o.mean.size(), " and ",
              o.std.size());
  for (size_t i = 0; i < 3; ++i)
    check_usage(std::isfinite(o.mean[i]) && std::isfinite(o.std[i]) && o.std[i] > 0,
                "torchscript: `mean` must be finite and `std` above 0, got ", o.mean[i], " and ", o.std[i]);
}

// (B, ...) of floats as (B, n) fp32 on the CPU.
at::Tensor rows(const at::Tensor& x, int64_t batch, const char* what, const std::string& name) {
  check(x.dim() >= 2 && x.size(0) == batch && x.numel() > 0 && x.is_floating_point(), name, ": the network's ", what,
        " must be floats (B, ...), got ", describe_tensor(x), " for B = ", batch);
  return x.to(at::kCPU, at::kFloat).flatten(1);
}

}  // namespace

struct TorchScriptExtractor::Module {
  mutable torch::jit::Module network;
};

TorchScriptExtractor::TorchScriptExtractor(const std::filesystem::path& file, const TorchScriptOptions& options,
                                           at::Device device)
    : name_(file.string()), options_(options), device_(device), sha256_(sha256_of_file(file)) {
  check_options(options_);
  try {
    module_ = std::make_unique<const Module>(Module{torch::jit::load(name_, device_)});
  } catch (const std::exception& e) {  // c10::Error and what its readers throw
    fail(name_, ": not a TorchScript file (torch.jit.save): ", first_line(e));
  }
  module_->network.eval();
  Image grey(options_.side, options_.side);
  std::fill(grey.rgb.begin(), grey.rgb.end(), uint8_t{128});
  (*this)(prepare(grey).unsqueeze(0));
}

TorchScriptExtractor::~TorchScriptExtractor() = default;

at::Tensor TorchScriptExtractor::prepare(const Image& image) const {
  const at::Tensor x = image_to_bytes(resize(image, options_.side, options_.side, options_.filter));
  const auto per_channel = [](const std::vector<double>& v) { return at::tensor(v, at::kFloat).view({3, 1, 1}); };
  return x.to(at::kFloat).div_(255.0).sub_(per_channel(options_.mean)).div_(per_channel(options_.std));
}

Features TorchScriptExtractor::operator()(const at::Tensor& prepared) const {
  const at::NoGradGuard no_grad;
  c10::IValue answer;
  try {
    answer = module_->network.forward({prepared.to(device_)});
  } catch (const std::exception& e) {
    fail(name_, ": the network fails on ", describe_tensor(prepared), ": ", first_line(e));
  }
  const auto tensor = [&](const c10::IValue& value) {
    check(value.isTensor(), name_, ": the network must return a tensor of features, or a tuple of features and class ",
          "scores; got ", value.tagKind());
    return value.toTensor();
  };
  const int64_t batch = prepared.size(0);
  Features out;
  if (answer.isTuple()) {
    const auto& parts = answer.toTupleRef().elements();
    check(parts.size() == 2, name_, ": the network returns a tuple of ", parts.size(),
          "; features and class scores are two");
    out.pool = rows(tensor(parts[0]), batch, "features", name_);
    out.logits = rows(tensor(parts[1]), batch, "class scores", name_);
  } else {
    out.pool = rows(tensor(answer), batch, "features", name_);
  }
  return out;
}

Json TorchScriptExtractor::identity() const {
  Json out = value_to_json(options_);
  out["network"] = "torchscript";
  out["weights"] = sha256_;
  return out;
}

}  // namespace crescendo
