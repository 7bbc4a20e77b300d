#include "crescendo/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/instruction_sets.h"
#include "crescendo/kernels/cpu/panels.h"
#include "crescendo/kernels/lanes.h"

namespace crescendo {

namespace {

template <class T>
Tensor packed(const Tensor& weight) {
  const int64_t outputs = weight.size(0), depth = weight.size(1);
  Tensor out = at::empty({panels::packed_size<T>(outputs, depth)}, weight.options().requires_grad(false));
  panels::pack(weight.data_ptr<T>(), weight.stride(0), weight.stride(1), outputs, depth, out.data_ptr<T>());
  return out;
}

struct Rounded {
  float scale;
  int32_t sum;
};

// To -127 .. 127, by the largest of them.
template <class T>
CRESCENDO_ROW Rounded round_weights(const T* numbers, int64_t count, int8_t* out) {
  float most = 0;
  CRESCENDO_EACH_WITH(reduction(max : most))
  for (int64_t k = 0; k < count; ++k) {
    const float size = std::fabs(rows::load(numbers[k]));
    most = most < size ? size : most;
  }
  const float scale = std::max(most / 127, 1e-30f), factor = 1 / scale;
  int32_t sum = 0;
  CRESCENDO_EACH_WITH(reduction(+ : sum))
  for (int64_t k = 0; k < count; ++k) {
    const int32_t whole = std::clamp(rows::whole(rows::load(numbers[k]) * factor), -127, 127);
    out[k] = static_cast<int8_t>(whole);
    sum += whole;
  }
  return {scale, sum};
}
CRESCENDO_VECTORIZED Rounded round_output(const float* numbers, int64_t count, int8_t* out) {
  return round_weights(numbers, count, out);
}
CRESCENDO_VECTORIZED Rounded round_output(const c10::BFloat16* numbers, int64_t count, int8_t* out) {
  return round_weights(numbers, count, out);
}

// Rounds and packs a panel at a time, so that nothing else takes memory.
template <class T>
void pack_rounded(const Tensor& weight, Tensor& packed, Tensor& scale, Tensor& sum) {
  const int64_t outputs = weight.size(0), depth = weight.size(1);
  at::parallel_for(0, scale.size(0) / panels::kWidth, 1, [&](int64_t begin, int64_t end) {
    std::vector<int8_t> rounded(static_cast<size_t>(panels::kWidth * depth));
    for (int64_t first = begin * panels::kWidth; first < end * panels::kWidth; first += panels::kWidth) {
      const int64_t count = std::min(panels::kWidth, outputs - first);
      for (int64_t i = 0; i < count; ++i) {
        const Rounded row = round_output(weight.data_ptr<T>() + (first + i) * depth, depth, rounded.data() + i * depth);
        scale.data_ptr<float>()[first + i] = row.scale;
        sum.data_ptr<int32_t>()[first + i] = row.sum;
      }
      panels::pack(rounded.data(), depth, 1, count, depth,
                   packed.data_ptr<int8_t>() + panels::packed_size<int8_t>(first, depth));
    }
  });
}

template <class T, class Out>
void multiply_by(const Tensor& packed, const Tensor& x, const Tensor& added, Tensor& out,
                 const panels::Scales& scales = {}) {
  const int64_t depth = x.size(-1), outputs = out.size(-1);
  const bool of_rows = added.defined() && added.dim() > 1;
  panels::multiply_in_parallel(
      panels::Product<T, Out>{x.numel() / depth, depth, outputs, x.data_ptr<typename panels::First<T>::Type>(), depth,
                              packed.data_ptr<T>(), added.defined() ? added.data_ptr<float>() : nullptr,
                              of_rows ? outputs : 0, out.data_ptr<Out>(), outputs, scales});
}

}  // namespace

bool PackedWeight::serves(const Tensor& weight, bool int8) {
  const bool is_fp32 = weight.scalar_type() == at::kFloat;
  if (!weight.is_cpu() || weight.dim() != 2 || (!is_fp32 && weight.scalar_type() != at::kBFloat16)) return false;
  return int8 ? weight.size(1) <= kMostOfInt8 : is_fp32 || weight.size(1) % 2 == 0;
}

PackedWeight::PackedWeight(const Tensor& weight, bool int8) {
  check(serves(weight, int8),
        "PackedWeight: needs a matrix on a CPU in fp32 or, of an even width, in bf16; for int8 of at most ",
        kMostOfInt8, " columns");
  outputs_ = weight.size(0);
  depth_ = weight.size(1);
  const bool is_fp32 = weight.scalar_type() == at::kFloat;
  if (!int8) {
    packed_ = is_fp32 ? packed<float>(weight) : packed<c10::BFloat16>(weight);
    return;
  }
  packed_ = at::empty({panels::packed_size<int8_t>(outputs_, depth_)}, at::kChar);
  scale_ = at::zeros({panels::whole_panels(outputs_)}, at::kFloat);
  sum_ = at::zeros(scale_.sizes(), at::kInt);
  const Tensor numbers = weight.contiguous();
  is_fp32 ? pack_rounded<float>(numbers, packed_, scale_, sum_)
          : pack_rounded<c10::BFloat16>(numbers, packed_, scale_, sum_);
}

void PackedWeight::check_sizes(at::IntArrayRef x, int64_t depth, const Tensor& added, const Tensor& out) const {
  check(out.is_contiguous() && x.back() == depth && out.size(-1) == outputs_ &&
            c10::multiply_integers(x) * outputs_ == out.numel() * depth,
        "PackedWeight: ", x, " times ", depth, " x ", outputs_, " is not ", out.sizes());
  const bool of_rows = added.defined() && added.dim() > 1;
  check(!added.defined() || (added.is_contiguous() && added.numel() == (of_rows ? out.numel() : outputs_)),
        "PackedWeight: ", added.defined() ? added.sizes() : at::IntArrayRef(), " cannot be added to ", out.sizes());
}

void PackedWeight::multiply(const Tensor& x, const Tensor& added, Tensor& out) const {
  check(x.is_contiguous(), "PackedWeight: needs contiguous rows");
  check_sizes(x.sizes(), depth_, added, out);
  if (is_int8())
    multiply(rounded_rows(x), added, out);
  else if (packed_.scalar_type() == at::kFloat)
    multiply_by<float, float>(packed_, x, added, out);
  else if (out.scalar_type() == at::kFloat)
    multiply_by<c10::BFloat16, float>(packed_, x, added, out);
  else
    multiply_by<c10::BFloat16, c10::BFloat16>(packed_, x, added, out);
}

void PackedWeight::multiply(const RoundedRows& x, const Tensor& added, Tensor& out) const {
  check(is_int8(), "PackedWeight: rounded rows need a weight in int8");
  check_sizes(x.bytes.sizes(), panels::whole_groups<int8_t>(depth_), added, out);
  const panels::Scales scales{x.scale.data_ptr<float>(), x.zero.data_ptr<int32_t>(), scale_.data_ptr<float>(),
                              sum_.data_ptr<int32_t>()};
  if (out.scalar_type() == at::kFloat)
    multiply_by<int8_t, float>(packed_, x.bytes, added, out, scales);
  else
    multiply_by<int8_t, c10::BFloat16>(packed_, x.bytes, added, out, scales);
}

}  // namespace crescendo
