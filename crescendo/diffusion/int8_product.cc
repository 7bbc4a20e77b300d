#include "crescendo/diffusion/int8_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "crescendo/core/check.h"
#include "crescendo/kernels/instruction_sets.h"
#include "crescendo/kernels/panels.h"

namespace crescendo {

namespace {

using panels::kGroup;
using panels::kWidth;

// Rows are divided so that they lie in here: silu is never below -0.2785, and mostly reaches well above 1.
constexpr float kLow = -0.3f, kHigh = 1.0f;

int64_t whole(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

struct Levels {
  float most;    // the largest byte
  int32_t zero;  // the byte of 0
};
Levels levels() {
  const auto most = static_cast<float>(panels::largest_of_bytes());
  return {most, static_cast<int32_t>(std::lround(most * -kLow / (kHigh - kLow)))};
}

// Returns the row's scale.
CRESCENDO_VECTORIZED float round_row(const float* x, int64_t count, Levels levels, uint8_t* bytes) {
  // By lanes of their own, as a compiler keeps the order of comparisons.
  constexpr int64_t kLanes = 16;
  float least[kLanes] = {}, most[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (int64_t i = 0; i < kLanes; ++i) {
      least[i] = x[k + i] < least[i] ? x[k + i] : least[i];
      most[i] = x[k + i] > most[i] ? x[k + i] : most[i];
    }
  for (; k < count; ++k) {
    least[0] = std::min(least[0], x[k]);
    most[0] = std::max(most[0], x[k]);
  }
  const float reach = std::max({*std::max_element(most, most + kLanes) / kHigh,
                                *std::min_element(least, least + kLanes) / kLow, 1e-20f}),
              scale = reach * (kHigh - kLow) / levels.most, factor = 1 / scale;
  // Between 0 and `most`, by adding a half, as what is no number must become some byte, too.
  const float middle = static_cast<float>(levels.zero) + 0.5f;
  for (int64_t i = 0; i < count; ++i) {
    const float level = x[i] * factor + middle;
    bytes[i] = static_cast<uint8_t>(static_cast<int32_t>(level > 0 ? (level < levels.most ? level : levels.most) : 0));
  }
  return scale;
}

}  // namespace

RoundedRows rounded_rows(const Tensor& silu_y) {
  const int64_t rows = silu_y.size(0), depth = silu_y.size(1), stride = whole(depth, kGroup<int8_t>);
  const RoundedRows out{at::zeros({rows, stride}, at::kByte), at::empty({rows}, at::kFloat)};
  const float* x = silu_y.data_ptr<float>();
  uint8_t* bytes = out.bytes.data_ptr<uint8_t>();
  float* scale = out.scale.data_ptr<float>();
  const Levels all = levels();
  at::parallel_for(0, rows, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, depth)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r)
                       scale[r] = round_row(x + r * depth, depth, all, bytes + r * stride);
                   });
  return out;
}

Int8Product::Int8Product(const Tensor& weight) : outputs_(weight.size(0)), depth_(weight.size(1)) {
  const Tensor numbers = weight.detach().to(at::kCPU, at::kFloat),
               scale = (numbers.abs().amax({1}) / 127).clamp_min(1e-12),
               rounded = (numbers / scale.unsqueeze(1)).round().to(at::kChar).contiguous();
  packed_ = at::empty({panels::packed_size<int8_t>(outputs_, depth_)}, at::kChar);
  panels::pack(rounded.data_ptr<int8_t>(), depth_, 1, outputs_, depth_, packed_.data_ptr<int8_t>());
  scale_ = at::zeros({whole(outputs_, kWidth)}, at::kFloat);
  scale_.slice(0, 0, outputs_).copy_(scale);
  zero_ = at::zeros({whole(outputs_, kWidth)}, at::kInt);
  zero_.slice(0, 0, outputs_).copy_(rounded.sum(1) * levels().zero);
}

void Int8Product::operator()(const RoundedRows& silu_y, Tensor& out) const {
  const int64_t rows = silu_y.bytes.size(0), depth = silu_y.bytes.size(1);
  check(depth == whole(depth_, kGroup<int8_t>) && out.is_contiguous() && out.size(0) == rows && out.size(1) == outputs_,
        "Int8Product: ", silu_y.bytes.sizes(), " times ", depth_, " x ", outputs_, " is not ", out.sizes());
  const auto multiply = [&](auto* numbers) {
    panels::multiply_in_parallel(panels::Product<int8_t, std::remove_pointer_t<decltype(numbers)>>{
        rows,
        depth,
        outputs_,
        silu_y.bytes.data_ptr<uint8_t>(),
        depth,
        packed_.data_ptr<int8_t>(),
        nullptr,
        0,
        numbers,
        outputs_,
        {silu_y.scale.data_ptr<float>(), scale_.data_ptr<float>(), zero_.data_ptr<int32_t>()}});
  };
  out.scalar_type() == at::kFloat ? multiply(out.data_ptr<float>()) : multiply(out.data_ptr<c10::BFloat16>());
}

}  // namespace crescendo
