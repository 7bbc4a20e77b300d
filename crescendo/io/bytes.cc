#include "crescendo/io/bytes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"

namespace crescendo {

static_assert(std::endian::native == std::endian::little, "the file formats here are read in place, little-endian");

Bytes map_bytes(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  const auto data = file->bytes();
  return {data, std::move(file), path.string(), /*mapped=*/true};
}

Bytes own_bytes(std::string content, std::string name) {
  auto owner = std::make_shared<const std::string>(std::move(content));
  const auto data = std::as_bytes(std::span(owner->data(), owner->size()));
  return {data, std::move(owner), std::move(name)};
}

std::optional<int64_t> checked_numel(std::span<const int64_t> sizes) {
  int64_t product = 1;
  bool empty = false;
  for (const int64_t size : sizes) {
    if (size < 0) return std::nullopt;
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(product, size, &product))
      return std::nullopt;
  }
  return empty ? 0 : product;
}

std::optional<int64_t> checked_bytes(int64_t numel, at::ScalarType dtype) {
  int64_t bytes;
  if (numel < 0 || __builtin_mul_overflow(numel, static_cast<int64_t>(at::elementSize(dtype)), &bytes))
    return std::nullopt;
  return bytes;
}

Tensor tensor_over(const Bytes& bytes, std::span<const int64_t> sizes, at::ScalarType dtype) {
  const auto numel = checked_numel(sizes);
  const auto expected = numel ? checked_bytes(*numel, dtype) : std::nullopt;
  check(expected && static_cast<uint64_t>(*expected) == bytes.size(), bytes.name, ": has ", bytes.size(),
        " bytes, its shape asks for ", expected ? std::to_string(*expected) : "more than 2^63");
  const auto options = at::TensorOptions().dtype(dtype);
  const at::IntArrayRef shape(sizes.data(), sizes.size());
  if (*numel == 0) return at::empty(shape, options);
  if (dtype == at::kBool)
    check(std::all_of(bytes.data.begin(), bytes.data.end(), [](std::byte b) { return b <= std::byte{1}; }), bytes.name,
          ": a bool is stored as a byte that is neither 0 nor 1");
  void* data = const_cast<std::byte*>(bytes.data.data());
  const auto address = reinterpret_cast<uintptr_t>(data);
  if (bytes.owner == nullptr || address % at::elementSize(dtype) != 0) {
    Tensor copy = at::empty(shape, options);
    std::memcpy(copy.data_ptr(), data, bytes.size());
    return copy;
  }
  return at::from_blob(
      data, shape,
      [owner = bytes.owner, pages = bytes.mapped ? bytes.data : std::span<const std::byte>()](void*) mutable {
        release_pages(pages);
        owner.reset();
      },
      options);
}

}  // namespace crescendo
