#include "crescendo/io/torch_zip.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <ostream>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/other_kind.h"

namespace crescendo {

namespace {

constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 30;
constexpr const char* kLegacyMagic = "0x1950a86a20f9469cfc6c";
constexpr int64_t kLegacyProtocol = 1001;

// One tensor of one dimension per storage key; a key always has one dtype and size.
class StorageCache {
 public:
  template <class F>
  const Tensor& get(const StorageId& id, const std::string& file, F&& load) {
    if (const auto it = storages_.find(id.key); it != storages_.end()) {
      check(it->second.scalar_type() == id.dtype && it->second.numel() == id.numel, file, ": storage '", id.key,
            "' is used with two types or sizes");
      return it->second;
    }
    return storages_.emplace(id.key, load()).first->second;
  }

 private:
  std::unordered_map<std::string, Tensor> storages_;
};

// A whole Python object may hold weights, but only its program knows where.
void check_root(const PickleValue& root, const std::string& file) {
  check(!root.is(PickleValue::Kind::kForeign), file, ": it holds no weights but an object of '",
        root.is(PickleValue::Kind::kForeign) ? root.as_string() : "",
        "', which is not executed; save its state_dict() with torch.save()");
}

// The least size of an archive that was cut short: PyTorch writes the pickle first, which tells the sizes of all
// storages behind it, and the directory last.
uint64_t least_bytes(const Bytes& bytes) {
  constexpr size_t kLocalHeader = 30;
  if (bytes.size() < kLocalHeader) return bytes.size();
  const size_t begin = kLocalHeader + load_le<uint16_t>(bytes.data, 26) + load_le<uint16_t>(bytes.data, 28);
  if (begin >= bytes.size()) return bytes.size();
  std::map<std::string, uint64_t> sizes;
  PickleOptions options;
  options.load_storage = [&](const StorageId& id) {
    sizes[id.key] = static_cast<uint64_t>(id.numel) * at::elementSize(id.dtype);
    return Tensor();
  };
  size_t consumed = bytes.size() - begin;
  try {
    parse_pickle(bytes.part(begin, bytes.size() - begin, bytes.name), options, &consumed);
  } catch (const Error&) {  // cut within the pickle: what was read so far still counts
  }
  uint64_t total = begin + consumed;
  for (const auto& entry : sizes) total += entry.second;
  return std::max<uint64_t>(total, bytes.size());
}

ZipReader open_archive(const Bytes& bytes) {
  if (has_zip_directory(bytes)) return ZipReader(bytes);
  fail(bytes.name, ": no ZIP directory at the end; the file is cut short: it has ", bytes.size(),
       " bytes and should have more than ", least_bytes(bytes), "; fetch it again");
}

// What an archive that is no checkpoint is or holds.
std::string contents_of(const ZipReader& archive) {
  const auto ends = [](const char* ending) { return [=](const ZipMember& m) { return m.name.ends_with(ending); }; };
  const auto& members = archive.members();
  if (std::any_of(members.begin(), members.end(), ends("model.weights.h5"))) return "it is a Keras model";
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(members.size(), 3); ++i) names += (i ? ", " : "") + members[i].name;
  if (members.size() > 3) names += ", ...";
  return names.empty() ? "it is empty" : "it holds " + names + "; unpack it and name the file of weights";
}

}  // namespace

PickleValue parse_torch_zip(const ZipReader& archive) {
  const std::string& file = archive.name();
  const ZipMember* pickle = nullptr;
  for (const auto& member : archive.members()) {
    if (!member.name.ends_with("/data.pkl") || std::count(member.name.begin(), member.name.end(), '/') != 1) continue;
    check(pickle == nullptr, file, ": the archive has two pickles, ", pickle ? pickle->name : "", " and ", member.name);
    pickle = &member;
  }
  check(pickle != nullptr, file, ": no PyTorch checkpoint: the archive has no FOLDER/data.pkl; ", contents_of(archive));
  const std::string folder = pickle->name.substr(0, pickle->name.find('/') + 1);
  check(archive.find(folder + "constants.pkl") == nullptr, file,
        ": a TorchScript program, not a checkpoint; save its state_dict() with torch.save()");
  if (const ZipMember* order = archive.find(folder + "byteorder")) {
    check(order->size <= 16, file, ": the byteorder record is damaged");
    const Bytes content = archive.content(*order, /*verify=*/true);
    const std::string_view text(reinterpret_cast<const char*>(content.data.data()), content.size());
    check(text == "little", file, ": byte order '", text == "big" ? "big" : "?", "' is not supported, only 'little'");
  }
  check(pickle->size <= kMaxPickleBytes, file, ": the pickle has ", pickle->size, " bytes, the limit is ",
        kMaxPickleBytes);

  StorageCache cache;
  PickleOptions options;
  options.load_storage = [&](const StorageId& id) -> Tensor {
    if (id.is_unread) return {};
    check(!id.is_view, file, ": storage '", id.key, "' is a view, which ZIP checkpoints do not have");
    return cache.get(id, file, [&] {
      const ZipMember* member = archive.find(folder + "data/" + id.key);
      check(member != nullptr, file, ": storage '", folder, "data/", id.key, "' is missing");
      const auto expected = static_cast<uint64_t>(id.numel) * at::elementSize(id.dtype);
      check(member->size == expected, file, ": storage '", member->name, "' has ", member->size, " bytes, ", id.numel,
            " elements of ", dtype_name(id.dtype), " take ", expected);
      return tensor_over(archive.content(*member, /*verify=*/false), std::span(&id.numel, 1), id.dtype);
    });
  };
  PickleValue root = parse_pickle(archive.content(*pickle, /*verify=*/true), options);
  check_root(root, file);
  return root;
}

PickleValue parse_torch_legacy(const Bytes& bytes) {
  const std::string& file = bytes.name;
  size_t at = 0;
  const auto next = [&](const PickleOptions& options) {
    size_t consumed = 0;
    const Bytes rest = bytes.part(at, bytes.size() - at, file);
    PickleValue value = parse_pickle(rest, options, &consumed);
    at += consumed;
    return value;
  };
  const PickleValue magic = next({});
  check(magic.is(PickleValue::Kind::kBigInt) && magic.as_string() == kLegacyMagic, file,
        ": not a PyTorch checkpoint: a Python pickle, but the magic number is missing that torch.save() writes");
  const PickleValue protocol = next({});
  check(protocol.is(PickleValue::Kind::kInt) && protocol.as_int() == kLegacyProtocol, file,
        ": the PyTorch stream has an unknown protocol");
  const PickleValue system = next({});
  const PickleValue* little = system.find("little_endian");
  check(!little || !little->is(PickleValue::Kind::kBool) || little->as_bool(), file,
        ": saved on a big-endian machine, which is not supported");

  // The storages stand behind the object that refers to them. A first pass over the object learns their types and where
  // it ends; then the storages are found, and a second pass builds the tensors over them.
  const size_t object_begin = at;
  std::map<std::string, StorageId> ids;
  PickleOptions scan;
  scan.load_storage = [&](const StorageId& id) {
    const auto [it, inserted] = ids.emplace(id.key, id);
    check(inserted || (it->second.dtype == id.dtype && it->second.numel == id.numel), file, ": storage '", id.key,
          "' is used with two types or sizes");
    return Tensor();
  };
  check_root(next(scan), file);
  const PickleValue keys = next({});
  check(keys.is(PickleValue::Kind::kList), file, ": the list of storage keys is damaged");
  std::unordered_map<std::string, Tensor> storages;
  for (const auto& key : keys.items()) {
    check(key.is(PickleValue::Kind::kString), file, ": the list of storage keys is damaged");
    const std::string& name = key.as_string();
    const auto it = ids.find(name);
    check(it != ids.end(), file, ": storage '", name, "' is listed but not used, so its type is unknown");
    check(bytes.size() - at >= 8, file, ": cut short before storage '", name, "'");
    const auto numel = load_le<int64_t>(bytes.data, at);
    at += 8;
    check(numel == it->second.numel, file, ": storage '", name, "' has ", numel, " elements, ", it->second.numel,
          " were announced");
    const auto size = static_cast<uint64_t>(numel) * at::elementSize(it->second.dtype);
    check(size <= bytes.size() - at, file, ": storage '", name, "' of ", size, " bytes leaves the file, which has ",
          bytes.size() - at, " left");
    const Bytes part = bytes.part(at, size, file + ": storage '" + name + "'");
    const Tensor content = it->second.is_unread ? Tensor() : tensor_over(part, std::span(&numel, 1), it->second.dtype);
    check(storages.emplace(name, content).second, file, ": storage '", name, "' is listed twice");
    at += size;
  }
  check(at == bytes.size(), file, ": ", bytes.size() - at, " bytes after the last storage");

  PickleOptions build;
  build.load_storage = [&](const StorageId& id) {
    const auto it = storages.find(id.key);
    check(it != storages.end(), file, ": storage '", id.key, "' is used but not listed");
    return id.is_view && !id.is_unread ? it->second.narrow(0, id.view_offset, id.view_numel) : it->second;
  };
  at = object_begin;
  return next(build);
}

bool is_pickle(std::string_view head) { return head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5; }

PickleValue parse_torch_file(const Bytes& bytes) {
  const std::string_view head(reinterpret_cast<const char*>(bytes.data.data()), std::min<size_t>(bytes.size(), 512));
  if (head.starts_with("PK")) return parse_torch_zip(open_archive(bytes));
  const std::string other = other_kind(head, bytes.size());
  check(is_pickle(head), bytes.name, ": not a PyTorch checkpoint: neither a ZIP archive nor PyTorch's older stream",
        other.empty() ? "" : ": it is " + other);
  return parse_torch_legacy(bytes);
}

PickleValue read_torch_file(const std::filesystem::path& path) { return parse_torch_file(map_bytes(path)); }

TensorMap tensors_at(const PickleValue& root, std::string_view key, std::string_view where) {
  check(root.is(PickleValue::Kind::kDict), where, ": expected a dict at the top, got ", root.kind_name());
  const PickleValue* dict = key.empty() ? &root : root.find(key);
  if (dict == nullptr || !dict->is(PickleValue::Kind::kDict)) {
    std::string keys;
    for (const auto& entry : root.entries()) {
      if (keys.size() > 200) {
        keys += ", ...";
        break;
      }
      if (entry.first.is(PickleValue::Kind::kString)) keys += (keys.empty() ? "" : ", ") + entry.first.as_string();
    }
    fail(where, ": no dict '", key, "' among the keys ", keys.empty() ? "(none)" : keys);
  }
  TensorMap out;
  for (const auto& [name, value] : dict->entries())
    if (name.is(PickleValue::Kind::kString) && value.is(PickleValue::Kind::kTensor))
      out.emplace(name.as_string(), value.as_tensor());
  check(!out.empty(), where, ": the dict", key.empty() ? "" : " '" + std::string(key) + "'", " holds no tensors");
  return out;
}

Json args_at(const PickleValue& root, std::string_view key) {
  const PickleValue* args = root.find(key);
  return args && args->is(PickleValue::Kind::kDict) ? to_json(*args) : Json(nullptr);
}

void write_torch_zip(const std::filesystem::path& path, const PickleValue& value) {
  std::vector<Tensor> storages;
  std::map<std::tuple<const void*, int64_t, at::ScalarType>, std::string> shared;
  const auto add_storage = [&](const Tensor& tensor) {
    std::string key = std::to_string(storages.size());
    if (tensor.numel() > 0 && tensor.is_contiguous()) {
      const auto [it, inserted] =
          shared.emplace(std::tuple(tensor.data_ptr(), tensor.numel(), tensor.scalar_type()), key);
      if (!inserted) return it->second;
    }
    storages.push_back(tensor.detach());
    return key;
  };
  const std::string pickle = write_pickle(value, add_storage);
  write_file_atomically(path, [&](std::ostream& out) {
    ZipWriter zip(out, {.alignment = 64});
    zip.add("archive/data.pkl", pickle);
    zip.add("archive/byteorder", "little");
    for (size_t i = 0; i < storages.size(); ++i) {
      const Tensor dense = storages[i].cpu().contiguous();
      zip.add("archive/data/" + std::to_string(i),
              std::span(static_cast<const std::byte*>(dense.data_ptr()), dense.nbytes()));
      if (!out) return;  // the caller reports the stream's error
    }
    zip.add("archive/version", "3\n");
    zip.finish();
  });
}

}  // namespace crescendo
