#include "crescendo/io/pickle_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>

#include "crescendo/io/pickle_ops.h"

namespace crescendo::pickle {

namespace {

constexpr int64_t kMaxExpanded = int64_t{1} << 24;  // elements of a tensor that repeats its storage (stride 0)

// "torch.float32"; nothing where no tensor is read in that type.
std::optional<at::ScalarType> dtype_of(std::string_view name) {
  for (const auto& known : kStorageTypes)
    if (name == "torch." + dtype_name(known.dtype)) return known.dtype;
  return std::nullopt;
}

// "f4" -> float32. Of unsigned types only bytes have tensors.
std::optional<at::ScalarType> dtype_of_numpy(std::string_view code) {
  constexpr std::array kCodes = {
      NamedDtype{"f8", at::kDouble}, NamedDtype{"f4", at::kFloat}, NamedDtype{"f2", at::kHalf},
      NamedDtype{"i8", at::kLong},   NamedDtype{"i4", at::kInt},   NamedDtype{"i2", at::kShort},
      NamedDtype{"i1", at::kChar},   NamedDtype{"u1", at::kByte},  NamedDtype{"b1", at::kBool}};
  for (const auto& known : kCodes)
    if (code == known.name) return known.dtype;
  return std::nullopt;
}

// Any object may be persistent; torch.save makes storages so, and before 1.6 the source texts of modules.
bool is_storage(const Arena& a, Id persistent_id) {
  const Value& value = a[persistent_id];
  return value.kind == Kind::kTuple && !value.items.empty() && a[value.items[0]].kind == Kind::kString &&
         a[value.items[0]].text == "storage";
}

}  // namespace

Id load_storage(Arena& a, Id persistent_id) {
  a.must(a.options().load_storage != nullptr, "a reference to a storage where there is none");
  if (!is_storage(a, persistent_id)) {
    const auto& items = a[persistent_id].items;
    const bool named = items.size() > 1 && a[items[1]].kind == Kind::kGlobal;
    return a.make_foreign(named ? std::string(a[items[1]].text) : "a persistent object");
  }
  const auto& items = a[persistent_id].items;
  a.must(items.size() == 5 || items.size() == 6, "a persistent id must be ('storage', type, key, location, numel)");
  const Value& type = a[items[1]];
  a.must(type.kind == Kind::kGlobal, "a persistent id needs a storage type");
  const std::string type_name = type.text;
  const Global kind = type.global;
  if (kind != Global::kStorage && kind != Global::kUntypedStorage && kind != Global::kUnreadStorage)
    return a.make_foreign(type_name);
  StorageId storage;
  storage.dtype = kind == Global::kUntypedStorage ? at::kByte : static_cast<at::ScalarType>(type.integer);
  storage.is_unread = kind == Global::kUnreadStorage;
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
  const Tensor content = a.options().load_storage(storage);
  if (storage.is_unread) return a.make_foreign(type_name);
  const Id id = a.make_tensor(Kind::kStorage, content);
  a[id].integer = kind == Global::kUntypedStorage;
  return id;
}

Id rebuild_tensor_of(Arena& a, Id dtype_id, Id storage_id, Id offset, Id sizes, Id strides) {
  const Value& storage = a[storage_id];
  if (storage.kind == Kind::kForeign) return storage_id;
  a.must(storage.kind == Kind::kStorage && storage.integer == 1, "a tensor must stand on a storage of bytes");
  a.must(a[dtype_id].kind == Kind::kString || a[dtype_id].kind == Kind::kGlobal, "a tensor needs a type");
  const auto dtype = dtype_of(a[dtype_id].text);
  if (!dtype || *dtype == at::kBool) return a.make_foreign(std::string(a[dtype_id].text));
  Tensor bytes = storage.tensor;
  if (bytes.defined()) {
    const auto size = static_cast<int64_t>(at::elementSize(*dtype));
    a.must(bytes.numel() % size == 0, "a storage of ", bytes.numel(), " bytes holds no whole number of elements of ",
           size);
    if (reinterpret_cast<uintptr_t>(bytes.data_ptr()) % static_cast<uintptr_t>(size) != 0) bytes = bytes.clone();
    bytes = bytes.view(*dtype);
  }
  return rebuild_tensor(a, a.make_tensor(Kind::kStorage, bytes), offset, sizes, strides);
}

void fill_array(Arena& a, Id array, Id state) {
  if (a[state].kind != Kind::kTuple || a[state].items.size() != 5) return;
  const auto& items = a[state].items;
  const Value &dtype_value = a[items[2]], &content = a[items[4]];
  const auto dtype = dtype_value.kind == Kind::kNumpyDtype ? dtype_of_numpy(dtype_value.text) : std::nullopt;
  if (!dtype || dtype_value.integer != 0 || (content.kind != Kind::kBytes && content.kind != Kind::kString)) return;
  const auto shape = a.ints_of(items[1], "the shape of an array");
  const auto numel = checked_numel(shape);
  const auto size = numel ? checked_bytes(*numel, *dtype) : std::nullopt;
  a.must(size && static_cast<uint64_t>(*size) == content.text.size(), "an array's shape and its ", content.text.size(),
         " bytes disagree");
  const bool fortran = a[items[3]].kind == Kind::kBool && a[items[3]].integer != 0;
  const std::vector<int64_t> stored = fortran ? std::vector<int64_t>(shape.rbegin(), shape.rend()) : shape;
  const Tensor tensor = tensor_over(own_bytes(content.text, "an array"), stored, *dtype);
  std::vector<int64_t> reversed(shape.size());
  for (size_t i = 0; i < reversed.size(); ++i) reversed[i] = static_cast<int64_t>(reversed.size() - 1 - i);
  a[array].tensor = fortran ? tensor.permute(reversed) : tensor;
}

Id tensor_of_array(Arena& a, Id array, Id dtype_id, const std::string& name) {
  const Tensor content = a[array].kind == Kind::kForeign ? a[array].tensor : Tensor();
  const auto dtype = a[dtype_id].kind == Kind::kString ? dtype_of(a[dtype_id].text) : std::nullopt;
  if (!content.defined() || !dtype) return a.make_foreign(name);
  return a.make_tensor(Kind::kTensor, content.to(*dtype));
}

Id rebuild_tensor(Arena& a, Id storage_id, Id offset_id, Id sizes_id, Id strides_id) {
  if (a[storage_id].kind == Kind::kForeign) return storage_id;
  a.must(a[storage_id].kind == Kind::kStorage, "a tensor must stand on a storage");
  a.must(a[storage_id].integer == 0, "a tensor stands on a storage of bytes, and its type is not told");
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
