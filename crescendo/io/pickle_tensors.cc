#include "crescendo/io/pickle_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace crescendo::pickle {

namespace {

constexpr int64_t kMaxExpanded = int64_t{1} << 24;  // elements of a tensor that repeats its storage (stride 0)

}  // namespace

Id load_storage(Arena& a, Id persistent_id) {
  a.must(a.options().load_storage != nullptr, "a reference to a storage where there is none");
  a.must(a[persistent_id].kind == Kind::kTuple, "a persistent id must be a tuple");
  const auto& items = a[persistent_id].items;
  a.must((items.size() == 5 || items.size() == 6) && a.string_of(items[0], "a persistent id's tag") == "storage",
         "a persistent id must be ('storage', type, key, location, numel)");
  const Value& type = a[items[1]];
  a.must(type.kind == Kind::kGlobal && type.global == Global::kStorage, "a persistent id needs a storage type");
  StorageId storage;
  storage.dtype = static_cast<at::ScalarType>(type.integer);
  storage.key = a.string_of(items[2], "the key of a storage");
  storage.location = a.string_of(items[3], "the location of a storage");
  storage.numel = a.int_of(items[4], "the size of a storage");
  a.must(storage.numel >= 0 && checked_bytes(storage.numel, storage.dtype), "a storage of ", storage.numel,
         " elements cannot be");
  if (items.size() == 6 && a[items[5]].kind != Kind::kNone) {
    const auto& view = a.items_of(items[5], "the view of a storage");
    a.must(view.size() == 3, "the view of a storage must be (key, offset, numel)");
    storage.is_view = true;
    storage.view_key = a.string_of(view[0], "the key of a view");
    storage.view_offset = a.int_of(view[1], "the offset of a view");
    storage.view_numel = a.int_of(view[2], "the size of a view");
    a.must(storage.view_offset >= 0 && storage.view_numel >= 0 && storage.view_offset <= storage.numel &&
               storage.view_numel <= storage.numel - storage.view_offset,
           "the view of a storage leaves it");
  }
  return a.make_tensor(Kind::kStorage, a.options().load_storage(storage));
}

Id rebuild_tensor(Arena& a, Id storage_id, Id offset_id, Id sizes_id, Id strides_id) {
  a.must(a[storage_id].kind == Kind::kStorage, "a tensor must stand on a storage");
  const int64_t offset = a.int_of(offset_id, "the offset of a tensor");
  const auto sizes = a.ints_of(sizes_id, "the shape of a tensor");
  const auto strides = a.ints_of(strides_id, "the strides of a tensor");
  a.must(sizes.size() == strides.size(), "a tensor has ", sizes.size(), " sizes and ", strides.size(), " strides");
  const auto numel = checked_numel(sizes);
  a.must(numel.has_value(), "a tensor has a negative size or more elements than 63 bits can count");
  a.must(offset >= 0, "a tensor has the negative offset ", offset);
  int64_t last = offset;  // the furthest element
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t reach = 0;
    a.must(strides[i] >= 0, "a tensor has the negative stride ", strides[i]);
    if (*numel == 0) continue;
    a.must(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) && !__builtin_add_overflow(last, reach, &last),
           "a tensor leaves its storage");
  }
  const Tensor base = a[storage_id].tensor;
  if (!base.defined()) return a.make_tensor(Kind::kTensor, {});
  a.must(*numel == 0 ? offset <= base.numel() : last < base.numel(), "a tensor of ", *numel, " elements at offset ",
         offset, " leaves its storage of ", base.numel());
  a.must(*numel <= std::max(base.numel(), kMaxExpanded), "a tensor of ", *numel, " elements over a storage of ",
         base.numel());
  return a.make_tensor(Kind::kTensor,
                       *numel == 0 ? at::empty(sizes, base.options()) : at::as_strided(base, sizes, strides, offset));
}

}  // namespace crescendo::pickle
