// safetensors: u64 little-endian header length, a JSON header, then the tensors' bytes, row-major, without gaps.
//   {"__metadata__": {text: text}, NAME: {"dtype": "F32", "shape": [3, 4], "data_offsets": [begin, end]}, ...}
// Offsets count from the end of the header. A file is mapped, not read: its tensors are views that keep the map alive.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "crescendo/io/bytes.h"
#include "crescendo/io/tensor_map.h"

namespace crescendo {

struct Safetensors {
  TensorMap tensors;
  std::map<std::string, std::string> unread;  // name -> dtype, of tensors that were passed over
  std::map<std::string, std::string> metadata;
};

// `path` is a file, an index of a sharded model (*.safetensors.index.json), or a folder that holds one of these:
// model.safetensors.index.json, model.safetensors, diffusion_pytorch_model.safetensors, or a single *.safetensors.
// Tensors of a type that is not read (8-bit floats, unsigned, complex) are an error, or passed over.
enum class UnreadTypes { kRefuse, kPassOver };
Safetensors read_safetensors(const std::filesystem::path& path, UnreadTypes unread = UnreadTypes::kRefuse);
Safetensors parse_safetensors(const Bytes& bytes, UnreadTypes unread = UnreadTypes::kRefuse);

// "; it holds pytorch_model.bin, ..." where weights lie in a folder in another form, else nothing: the end of a
// message.
std::string other_weights_in(const std::filesystem::path& folder);

// Writes atomically, one tensor at a time (those of another device or with strides are copied one by one). Names are
// sorted in the header; the data is ordered by element size, so that every tensor is aligned for the mapped reader.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace crescendo
