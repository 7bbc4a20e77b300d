// Tensors in a pickle: a persistent id names a storage, and a tensor is a strided view of one.
#pragma once

#include "crescendo/io/pickle_arena.h"

namespace crescendo::pickle {

// ('storage', type, key, location, numel[, (view key, offset, numel)]) -> storage
Id load_storage(Arena& arena, Id persistent_id);

// (storage, offset, sizes, strides) -> tensor; every element it can reach must lie inside.
Id rebuild_tensor(Arena& arena, Id storage, Id offset, Id sizes, Id strides);

}  // namespace crescendo::pickle
