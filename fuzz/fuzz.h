// What the fuzz targets share. A target hands the input to a reader; an Error is an answer, anything else is a finding.
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "crescendo/core/check.h"
#include "crescendo/io/bytes.h"
#include "crescendo/io/pickle.h"

namespace crescendo {

// Views the fuzzer's buffer, whose exact size the address sanitizer guards; the owner only says that viewing is
// allowed.
inline Bytes fuzz_bytes(const uint8_t* data, size_t size) {
  return {std::as_bytes(std::span(data, size)), std::shared_ptr<const void>(data, [](const void*) {}), "input"};
}

// Reads every element (of large tensors the first and the last), so that a view beyond its memory is noticed.
inline void touch(const Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() == 0) return;
  if (tensor.numel() <= (1 << 16)) {
    const Tensor dense = tensor.contiguous();
    volatile uint8_t sum = 0;
    const auto* bytes = static_cast<const uint8_t*>(dense.data_ptr());
    for (size_t i = 0; i < dense.nbytes(); ++i) sum = static_cast<uint8_t>(sum + bytes[i]);
    return;
  }
  Tensor last = tensor;
  while (last.dim() > 0) last = last.select(0, last.size(0) - 1);
  touch(last.reshape({1}));
}

// `budget` bounds the walk over shared branches.
inline void touch(const PickleValue& value, int& budget) {
  if (--budget < 0) return;
  using Kind = PickleValue::Kind;
  switch (value.kind()) {
    case Kind::kTensor:
      return touch(value.as_tensor());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
      for (const auto& item : value.items()) touch(item, budget);
      return;
    case Kind::kDict:
      for (const auto& [key, item] : value.entries()) {
        touch(key, budget);
        touch(item, budget);
      }
      return;
    default:
      return;
  }
}
inline void touch(const PickleValue& value) {
  int budget = 10'000;
  touch(value, budget);
}

template <class F>
int fuzz(F&& f) {
  try {
    f();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace crescendo
