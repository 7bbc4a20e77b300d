#include "crescendo/core/finite.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "crescendo/core/check.h"

namespace crescendo {

bool all_finite(const Tensor& t) {
  if (!t.is_floating_point() || t.is_meta() || t.numel() == 0) return true;
  const at::NoGradGuard no_grad;
  // A sum takes one pass and no memory, and an element that is not finite makes it so. Finite elements may overflow in
  // the sum, soon in half precision; then each is checked.
  const Tensor sum = t.scalar_type() == at::kHalf ? at::sum(t, at::kFloat) : at::sum(t);
  return std::isfinite(sum.item<double>()) || at::isfinite(t).all().item<bool>();
}

void check_finite(const Tensor& t, std::string_view name, std::string_view where) {
  if (all_finite(t)) return;
  const int64_t finite = at::isfinite(t).sum().item<int64_t>();
  fail(where, ": of the ", t.numel(), " elements of ", name, " ", t.numel() - finite,
       " are NaN or infinite; take an earlier checkpoint, or make the file again");
}

void check_finite(const TensorMap& tensors, std::string_view where) {
  for (const auto& [name, t] : tensors) check_finite(t, name, where);
}

}  // namespace crescendo
