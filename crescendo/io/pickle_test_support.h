// Pickles written by hand, for the tests of the reader.
#pragma once

#include <ATen/ATen.h>

#include "crescendo/io/pickle.h"
#include "crescendo/io/test_support.h"

namespace crescendo {

using namespace std::string_literals;

inline PickleValue parse(const std::string& content, const PickleOptions& options = {}) {
  return parse_pickle(own_bytes(content, "x.pkl"), options);
}
inline std::string parse_error(const std::string& content, const PickleOptions& options = {}) {
  return error_of([&] { parse(content, options); });
}

// BINUNICODE
inline std::string text(const std::string& content) {
  const auto size = static_cast<uint32_t>(content.size());
  return "X" + std::string(reinterpret_cast<const char*>(&size), 4) + content;
}
// LONG1 of eight bytes
inline std::string number(int64_t value) { return "\x8a\x08" + std::string(reinterpret_cast<const char*>(&value), 8); }

// A pickle, and its JSON or what is said of it.
struct Case {
  std::string pickle;
  const char* json;
};

// numpy.dtype("f8")
inline const std::string kNumpyF8 =
    "cnumpy\ndtype\nU\2f8K\0K\1\x87R(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"s;

// A pickle of torch._utils._rebuild_tensor_v2 over one storage of FloatStorage "0".
inline std::string tensor_pickle(int64_t storage, int64_t offset, const std::vector<int64_t>& sizes,
                                 const std::vector<int64_t>& strides, const std::string& location = "cuda:7") {
  std::string out = "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" + text("0") +
                    text(location) + number(storage) + "tQ" + number(offset) + "(";
  for (const int64_t size : sizes) out += number(size);
  out += "t(";
  for (const int64_t stride : strides) out += number(stride);
  return out +
         "t\x89"
         "ccollections\nOrderedDict\n)RtR.";
}
inline const PickleOptions kTenFloats{
    .load_storage = [](const StorageId& id) { return at::arange(id.numel, at::kFloat); }};

}  // namespace crescendo
