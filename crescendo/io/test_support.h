// What the tests of this folder share beyond tests/support.h.
#pragma once

#include <ATen/ATen.h>

#include <cstring>

#include "tests/support.h"

namespace crescendo {

using test::error_of;
using test::TemporaryDirectory;

// Succeeds or throws an Error; for inputs that may be valid or not.
template <class F>
bool accepts(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& e) {
    EXPECT_STRNE(e.what(), "");
    return false;
  }
}

// Same dtype, shape and bytes.
inline bool identical(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return a.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

// Touches every byte, so that a view beyond its memory is noticed under a sanitizer.
inline void touch(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  const auto* bytes = static_cast<const unsigned char*>(dense.data_ptr());
  volatile unsigned sum = 0;
  for (size_t i = 0; i < dense.nbytes(); ++i) sum = sum + bytes[i];
}

}  // namespace crescendo
