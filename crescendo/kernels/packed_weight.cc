#include "crescendo/kernels/packed_weight.h"

#include <ATen/ATen.h>

#include "crescendo/core/check.h"
#include "crescendo/kernels/panels.h"

namespace crescendo {

namespace {

template <class T>
Tensor packed(const Tensor& weight) {
  const int64_t outputs = weight.size(0), depth = weight.size(1);
  Tensor out = at::empty({panels::packed_size<T>(outputs, depth)}, weight.options().requires_grad(false));
  panels::pack(weight.data_ptr<T>(), weight.stride(0), weight.stride(1), outputs, depth, out.data_ptr<T>());
  return out;
}

template <class T, class Out>
void multiply_by(const Tensor& packed, const Tensor& x, const Tensor& added, Tensor& out) {
  const int64_t depth = x.size(-1), outputs = out.size(-1);
  const bool of_rows = added.defined() && added.dim() > 1;
  panels::multiply_in_parallel(panels::Product<T, Out>{
      x.numel() / depth, depth, outputs, x.data_ptr<T>(), depth, packed.data_ptr<T>(),
      added.defined() ? added.data_ptr<float>() : nullptr, of_rows ? outputs : 0, out.data_ptr<Out>(), outputs});
}

}  // namespace

bool PackedWeight::serves(const Tensor& weight) {
  return weight.is_cpu() && weight.dim() == 2 &&
         (weight.scalar_type() == at::kFloat || (weight.scalar_type() == at::kBFloat16 && weight.size(1) % 2 == 0));
}

PackedWeight::PackedWeight(const Tensor& weight) {
  check(serves(weight), "PackedWeight: needs a matrix in fp32, or in bf16 of an even width, on a CPU");
  outputs_ = weight.size(0);
  depth_ = weight.size(1);
  packed_ = weight.scalar_type() == at::kFloat ? packed<float>(weight) : packed<c10::BFloat16>(weight);
}

void PackedWeight::multiply(const Tensor& x, const Tensor& added, Tensor& out) const {
  check(x.is_contiguous() && out.is_contiguous() && x.size(-1) == depth_ && out.size(-1) == outputs_ &&
            x.numel() * outputs_ == out.numel() * depth_,
        "PackedWeight: ", x.sizes(), " times ", depth_, " x ", outputs_, " is not ", out.sizes());
  const bool of_rows = added.defined() && added.dim() > 1;
  check(!added.defined() || (added.is_contiguous() && added.numel() == (of_rows ? out.numel() : outputs_)),
        "PackedWeight: ", added.defined() ? added.sizes() : at::IntArrayRef(), " cannot be added to ", out.sizes());
  if (packed_.scalar_type() == at::kFloat)
    multiply_by<float, float>(packed_, x, added, out);
  else if (out.scalar_type() == at::kFloat)
    multiply_by<c10::BFloat16, float>(packed_, x, added, out);
  else
    multiply_by<c10::BFloat16, c10::BFloat16>(packed_, x, added, out);
}

}  // namespace crescendo
