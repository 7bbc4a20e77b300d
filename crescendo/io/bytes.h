// Bytes that a reader looks into (usually a mapped file) together with what keeps them alive, and the one way in which
// this folder turns a range of them into a tensor: a view where that is possible, a copy where alignment forbids it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "crescendo/core/tensor.h"

namespace crescendo {

struct Bytes {
  std::span<const std::byte> data;
  std::shared_ptr<const void> owner;  // keeps `data` alive
  std::string name;                   // for messages: the file's path
  bool mapped = false;                // pages of a file, which come back when they are read again

  size_t size() const { return data.size(); }
  // A part of the same bytes; the caller has checked the range.
  Bytes part(size_t offset, size_t size, std::string part_name) const {
    return {data.subspan(offset, size), owner, std::move(part_name), mapped};
  }
};

Bytes map_bytes(const std::filesystem::path& path);
Bytes own_bytes(std::string content, std::string name);

// A little-endian number at `offset`; the caller has checked the range.
template <class T>
T load_le(std::span<const std::byte> data, size_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, data.data() + offset, sizeof(T));
  return value;
}

// Product of the sizes, or nothing where one is negative or the product does not fit. Zeros do not hide an overflow:
// sizes {0, 2^62, 2^62} are refused too, because strides are computed from them.
std::optional<int64_t> checked_numel(std::span<const int64_t> sizes);
// Bytes of `numel` elements, or nothing where that does not fit in 63 bits.
std::optional<int64_t> checked_bytes(int64_t numel, at::ScalarType dtype);

// A tensor over all of `bytes`, whose size must be that of the sizes and dtype. It shares the memory and keeps it
// alive; unaligned data is copied. The pages of a mapped file are given back as soon as no tensor needs them. Bytes of
// a bool tensor must be 0 or 1 (anything else is undefined behaviour in C++).
Tensor tensor_over(const Bytes& bytes, std::span<const int64_t> sizes, at::ScalarType dtype);

}  // namespace crescendo
