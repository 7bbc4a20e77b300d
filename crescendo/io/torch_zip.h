// PyTorch's checkpoints: torch.save() of a dict of tensors, numbers and text.
//   since 1.6   ZIP: FOLDER/data.pkl (the pickle), FOLDER/data/KEY (one raw storage each, stored, aligned to 64 bytes)
//   before      a stream: pickles of a magic number, the protocol, the system, the object and the list of storage keys,
//               then for each key an int64 count and the elements
// Tensors are views of the mapped file, with the strides, offsets and sharing they were saved with; all bounds are
// checked against the storage. No checksum is computed over the storages, so opening takes no time that grows with
// them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "crescendo/core/json.h"
#include "crescendo/io/pickle.h"
#include "crescendo/io/zip.h"

namespace crescendo {

// Either of the two forms, told apart by the first bytes.
PickleValue read_torch_file(const std::filesystem::path& path);

// Bytes that begin as a pickle of protocol 2 to 5 does, in which the older form is written.
bool is_pickle(std::string_view head);
PickleValue parse_torch_file(const Bytes& bytes);
PickleValue parse_torch_zip(const ZipReader& archive);
PickleValue parse_torch_legacy(const Bytes& bytes);

// The tensors of the dict at `key` ("model", "model_ema"; "" is the file's value itself). Entries that are no tensors
// are left out; a dict without any tensor is an error. `where` names the file in messages, which list the keys.
TensorMap tensors_at(const PickleValue& root, std::string_view key, std::string_view where);

// The arguments saved by a training program under `key` (an argparse.Namespace or a dict); null where there are none.
Json args_at(const PickleValue& root, std::string_view key = "args");

// Writes what torch.load(path, weights_only=True) opens. Tensors are stored contiguous, one at a time, bit for bit;
// equal tensors (the same memory, whole) share a storage, so that tied weights stay tied.
void write_torch_zip(const std::filesystem::path& path, const PickleValue& value);

}  // namespace crescendo
