#include "crescendo/io/tensor_map.h"

#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/fields.h"

namespace crescendo {

const Tensor& get_tensor(const TensorMap& tensors, const std::string& name, std::string_view where) {
  if (const auto it = tensors.find(name); it != tensors.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& entry : tensors) names.push_back(entry.first);
  const std::string nearest = nearest_name(name, names);
  fail(where, " has no tensor '", name, "' among its ", tensors.size(),
       nearest.empty() ? "" : "; the nearest is '" + nearest + "'");
}

TensorMap with_prefix_removed(const TensorMap& tensors, std::string_view prefix) {
  TensorMap out;
  for (auto it = tensors.lower_bound(std::string(prefix)); it != tensors.end() && it->first.starts_with(prefix); ++it)
    out.emplace(it->first.substr(prefix.size()), it->second);
  return out;
}

int64_t total_numel(const TensorMap& tensors) {
  int64_t total = 0;
  for (const auto& entry : tensors) total += entry.second.numel();
  return total;
}

int64_t total_bytes(const TensorMap& tensors) {
  int64_t total = 0;
  for (const auto& entry : tensors)
    total += entry.second.numel() * static_cast<int64_t>(at::elementSize(entry.second.scalar_type()));
  return total;
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return "float64";
    case at::kFloat:
      return "float32";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kLong:
      return "int64";
    case at::kInt:
      return "int32";
    case at::kShort:
      return "int16";
    case at::kChar:
      return "int8";
    case at::kByte:
      return "uint8";
    case at::kBool:
      return "bool";
    default:
      return at::toString(dtype);
  }
}

std::string describe_tensor(const Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  std::string out = dtype_name(tensor.scalar_type()) + " [";
  for (int64_t i = 0; i < tensor.dim(); ++i) out += (i ? ", " : "") + std::to_string(tensor.size(i));
  return out + "]";
}

}  // namespace crescendo
