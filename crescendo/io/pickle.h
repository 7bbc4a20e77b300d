// Python's pickle, read as data: the few instructions that build numbers, strings, containers and tensors are carried
// out by a small stack machine; nothing is imported and nothing is called.
//
// A global (a class or function named in the stream) is known only if it is on a short list: collections.OrderedDict,
// argparse.Namespace, types.SimpleNamespace, torch's storages, torch._utils._rebuild_tensor[_v2, _v3],
// _rebuild_parameter[_with_state], _rebuild_from_type[_v2] and _rebuild_device_tensor_from_numpy, torch.Size,
// torch.device, torch's dtypes, NumPy's scalars and arrays, set and frozenset. Any other is foreign: what it makes is
// an opaque value that carries its name, and what is done to it is forgotten.
//
// pickle_value.h    the result
// pickle_arena.h    values while the machine runs, and the bounds on them
// pickle_globals.h  the list of globals and what each makes
// pickle_tensors.h  tensors over storages
// pickle_reader.cc  the machine
// pickle_writer.cc  the way back
#pragma once

#include <functional>
#include <string>

#include "crescendo/io/bytes.h"
#include "crescendo/io/pickle_value.h"

namespace crescendo {

// A persistent id as torch.save writes it: ('storage', type, key, location, numel[, view]).
struct StorageId {
  at::ScalarType dtype = at::kFloat;
  std::string key;
  std::string location;
  int64_t numel = 0;
  // A part of the storage `key`, in the legacy stream only.
  bool is_view = false;
  // Of a type that is not read: its place and size must be known, its content is not wanted.
  bool is_unread = false;
  std::string view_key;
  int64_t view_offset = 0, view_numel = 0;
};

struct PickleOptions {
  // The 1-D tensor of a storage; bytes for storages without a type. It may return an undefined tensor: tensors over it
  // are undefined, too. Null: a persistent id is an error.
  std::function<Tensor(const StorageId&)> load_storage;
  size_t max_values = 4'000'000;
  size_t max_depth = 256;
};

// Reads one pickle from the front of `bytes`. With `consumed`, bytes may follow and their start is stored there.
PickleValue parse_pickle(const Bytes& bytes, const PickleOptions& options = {}, size_t* consumed = nullptr);

// Writes protocol 2, in the subset that torch.load(weights_only=True) accepts since PyTorch 1.13, where it knows no
// floats: they become float64 tensors without dimensions, which to_json() shows as numbers. `add_storage` is called for
// each tensor and gives the key under which its content, contiguous, is stored. Big ints, bytes, sets and foreign
// objects are refused.
std::string write_pickle(const PickleValue& value, const std::function<std::string(const Tensor&)>& add_storage);

}  // namespace crescendo
