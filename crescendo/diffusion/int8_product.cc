#include "crescendo/diffusion/int8_product.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"

namespace crescendo {

namespace {

// Rows are divided so that they lie in here: silu is never below -0.2785, and mostly reaches well above 1.
constexpr double kLow = -0.3, kHigh = 1.0;

bool use_engine() {
  const auto& engines = at::globalContext().supportedQEngines();
  if (std::find(engines.begin(), engines.end(), at::kONEDNN) == engines.end()) return false;
  at::globalContext().setQEngine(at::kONEDNN);
  return true;
}

// LibTorch's quantized operators have no functions in its headers.
c10::IValue call(const char* name, c10::Stack arguments) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(&arguments);
  return std::move(arguments.at(0));
}

}  // namespace

bool Int8Product::available() { return use_engine(); }

Int8Product::Int8Product(const Tensor& weight) {
  check(use_engine(), "this LibTorch has no int8 products (oneDNN); do without --int8");
  const Tensor rows = weight.to(at::kCPU, at::kFloat).contiguous();
  const Tensor scales = (rows.abs().amax({1}) / 127).clamp_min(1e-12).to(at::kDouble);
  packed_ = call("quantized::linear_prepack",
                 {at::quantize_per_channel(rows, scales, at::zeros({rows.size(0)}, at::kLong), 0, at::kQInt8), {}});
}

void Int8Product::operator()(Tensor out, const Tensor& silu_y) const {
  const int64_t rows = silu_y.size(0);
  const auto [least, most] = at::aminmax(silu_y, 1, /*keepdim=*/true);
  const Tensor scale = at::maximum(most / kHigh, least / kLow).clamp_min(1e-20);  // (M, 1)
  // The operator rounds by the range of all that it is given: a row of the ends makes it the same each time.
  const Tensor scaled = at::empty({rows + 1, silu_y.size(1)}, silu_y.options());
  Tensor body = scaled.slice(0, 0, rows);
  at::div_out(body, silu_y, scale);
  scaled[rows].fill_(kLow);
  scaled[rows][0].fill_(kHigh);
  const Tensor product =
      call("quantized::linear_dynamic", {scaled, packed_, /*reduce_range=*/!cpu_has_int8()}).toTensor();
  at::mul_out(out, product.slice(0, 0, rows), scale);
}

}  // namespace crescendo
