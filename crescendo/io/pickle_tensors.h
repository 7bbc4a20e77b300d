// Tensors in a pickle: a persistent id names a storage, and a tensor is a strided view of one. What is no dense tensor
// of a type that this program reads (quantized, complex, 8-bit floats) is foreign, under the name of its type.
#pragma once

#include "crescendo/io/pickle_arena.h"

namespace crescendo::pickle {

// ('storage', type, key, location, numel[, (view key, offset, numel)]) -> storage
Id load_storage(Arena& arena, Id persistent_id);

// (storage, offset, sizes, strides) -> tensor; every element it can reach must lie inside.
Id rebuild_tensor(Arena& arena, Id storage, Id offset, Id sizes, Id strides);
// The same over a storage of bytes, whose type is told apart ("torch.float32").
Id rebuild_tensor_of(Arena& arena, Id dtype, Id storage, Id offset, Id sizes, Id strides);

// The state of a numpy.ndarray, (version, shape, dtype, is_fortran, bytes), kept aside for tensor_of_array. An array of
// other things than numbers stays empty.
void fill_array(Arena& arena, Id array, Id state);
// The array as a tensor; foreign, as `name`, where it has no content.
Id tensor_of_array(Arena& arena, Id array, Id dtype, const std::string& name);

}  // namespace crescendo::pickle
