#include "crescendo/io/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <ostream>
#include <utility>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/join.h"
#include "crescendo/core/json.h"
#include "crescendo/core/other_kind.h"

namespace crescendo {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's reference reader
constexpr size_t kMaxDims = 64;
constexpr const char* kMetadataKey = "__metadata__";

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
constexpr std::array kDtypes = {
    DtypeName{"F64", at::kDouble},    DtypeName{"F32", at::kFloat}, DtypeName{"F16", at::kHalf},
    DtypeName{"BF16", at::kBFloat16}, DtypeName{"I64", at::kLong},  DtypeName{"I32", at::kInt},
    DtypeName{"I16", at::kShort},     DtypeName{"I8", at::kChar},   DtypeName{"U8", at::kByte},
    DtypeName{"BOOL", at::kBool},
};

// Passed over, for no weight is stored so.
struct UnreadDtype {
  const char* name;
  int64_t bytes;
};
constexpr std::array kUnreadDtypes = {UnreadDtype{"F8_E4M3", 1}, UnreadDtype{"F8_E5M2", 1}, UnreadDtype{"F8_E8M0", 1},
                                      UnreadDtype{"U16", 2},     UnreadDtype{"U32", 4},     UnreadDtype{"U64", 8},
                                      UnreadDtype{"C64", 8}};

std::string dtype_list() {
  return join(kDtypes, ", ", [](const auto& entry) { return entry.name; });
}

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint64_t> offsets;
  unsigned seen = 0;  // bit per key: 1 dtype, 2 shape, 4 data_offsets
};

// Takes the header's JSON token by token. A general JSON tree would accept repeated keys and any nesting; here every
// token has one place where it may stand, and memory stays proportional to the header.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(const std::string& file) : file_(file) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("a bool"); }
  bool number_integer(number_integer_t value) override {
    if (in_array_) fail(file_, ": tensor '", entries.back().name, "': negative number ", value, " in ", key_);
    return misplaced("a number");
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) return misplaced("a number");
    Entry& entry = entries.back();
    if (key_ == "shape") {
      check(value <= static_cast<uint64_t>(INT64_MAX), file_, ": tensor '", entry.name, "': size ", value,
            " does not fit in 63 bits");
      check(entry.shape.size() < kMaxDims, file_, ": tensor '", entry.name, "' has more than ", kMaxDims,
            " dimensions");
      entry.shape.push_back(static_cast<int64_t>(value));
    } else {
      check(entry.offsets.size() < 2, file_, ": tensor '", entry.name, "': data_offsets must be two numbers");
      entry.offsets.push_back(value);
    }
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override { return misplaced("the number " + text); }
  bool binary(binary_t&) override { return misplaced("binary data"); }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      check(metadata.emplace(key_, std::move(value)).second, file_, ": metadata key '", key_, "' stands there twice");
      return true;
    }
    if (place_ == Place::kTensor && key_ == "dtype" && !in_array_) {
      entries.back().dtype = std::move(value);
      return true;
    }
    return misplaced("a string");
  }

  bool start_object(size_t) override {
    if (in_array_) return misplaced("an object");
    switch (place_) {
      case Place::kStart:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        place_ = key_ == kMetadataKey ? Place::kMetadata : Place::kTensor;
        if (place_ == Place::kTensor) entries.push_back({key_, {}, {}, {}, 0});
        if (place_ == Place::kMetadata)
          check(!std::exchange(metadata_seen_, true), file_, ": ", kMetadataKey, " stands there twice");
        return true;
      default:
        return misplaced("an object");
    }
  }
  bool key(string_t& value) override {
    if (place_ == Place::kTensor) {
      const unsigned bit = value == "dtype" ? 1 : value == "shape" ? 2 : value == "data_offsets" ? 4 : 0;
      Entry& entry = entries.back();
      check(bit != 0, file_, ": tensor '", entry.name, "' has the unknown key '", value, "'");
      check((entry.seen & bit) == 0, file_, ": tensor '", entry.name, "' has the key '", value, "' twice");
      entry.seen |= bit;
    }
    key_ = std::move(value);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kTensor)
      check(entries.back().seen == 7 && entries.back().offsets.size() == 2, file_, ": tensor '", entries.back().name,
            "' must have dtype, shape and two data_offsets");
    place_ = place_ == Place::kTop ? Place::kEnd : Place::kTop;
    return true;
  }
  bool start_array(size_t) override {
    if (place_ != Place::kTensor || in_array_ || (key_ != "shape" && key_ != "data_offsets"))
      return misplaced("a list");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(file_, ": the header is not valid JSON at byte ", position);
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kEnd };

  bool misplaced(const std::string& what) {
    switch (place_) {
      case Place::kTensor:
        fail(file_, ": tensor '", entries.back().name, "': ", what, " stands in ", key_);
      case Place::kMetadata:
        fail(file_, ": metadata key '", key_, "' must be a string, got ", what);
      case Place::kTop:
        fail(file_, ": '", key_, "' must be an object, got ", what);
      default:
        fail(file_, ": the header must be a JSON object, got ", what);
    }
  }

  const std::string& file_;
  Place place_ = Place::kStart;
  bool in_array_ = false;
  bool metadata_seen_ = false;
  std::string key_;
};

// Of one element, where the dtype is one that is passed over; else 0.
int64_t unread_bytes(const Entry& entry) {
  for (const auto& known : kUnreadDtypes)
    if (entry.dtype == known.name) return known.bytes;
  return 0;
}

at::ScalarType parse_dtype(const Entry& entry, const std::string& file) {
  for (const auto& known : kDtypes)
    if (entry.dtype == known.name) return known.dtype;
  fail(file, ": tensor '", entry.name, "' has the unknown dtype '", entry.dtype, "'; known are ", dtype_list());
}

const char* dtype_code(const std::string& name, const Tensor& tensor) {
  for (const auto& known : kDtypes)
    if (tensor.scalar_type() == known.dtype) return known.name;
  fail("safetensors: tensor '", name, "' has dtype ", dtype_name(tensor.scalar_type()), "; the format stores ",
       dtype_list());
}

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail("safetensors: names and metadata must be UTF-8, got '",
         nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), "'");
  }
}

Safetensors read_sharded(const std::filesystem::path& index_path, UnreadTypes unread) {
  const Json index = read_json(index_path);
  check(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(), index_path.string(),
        ": an index needs the object 'weight_map'");
  std::map<std::string, std::vector<std::string>> names_of_shard;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    check(shard.is_string(), index_path.string(), ": weight_map['", name, "'] must be a file name");
    const auto file = shard.get<std::string>();
    // A shard is a neighbour of its index; a path that leads elsewhere is a mistake or worse.
    check(!file.empty() && std::filesystem::path(file).filename() == file && file != "." && file != "..",
          index_path.string(), ": weight_map['", name, "'] must be a plain file name, got '", file, "'");
    names_of_shard[file].push_back(name);
  }
  Safetensors out;
  for (const auto& [file, names] : names_of_shard) {
    const auto shard_path = index_path.parent_path() / file;
    check(std::filesystem::is_regular_file(shard_path), index_path.string(), ": shard ", file, " is missing; it holds ",
          names.size(), " tensors, the first is '", names.front(), "'");
    Safetensors shard = parse_safetensors(map_bytes(shard_path), unread);
    for (const auto& name : names) {
      if (shard.unread.contains(name)) continue;
      const auto it = shard.tensors.find(name);
      check(it != shard.tensors.end(), index_path.string(), ": tensor '", name, "' is not in its shard ", file);
      out.tensors.emplace(name, it->second);
    }
    out.metadata.merge(shard.metadata);
    out.unread.merge(shard.unread);
  }
  return out;
}

}  // namespace

std::string other_weights_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    for (const char* extension : {".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"})
      if (entry.path().extension() == extension) names.push_back(entry.path().filename().string());
  return names.empty() ? "" : "; it holds " + join(names) + ", but in a folder only safetensors are read";
}

Safetensors parse_safetensors(const Bytes& bytes, UnreadTypes unread_types) {
  const std::string& file = bytes.name;
  const std::string_view front(reinterpret_cast<const char*>(bytes.data.data()), std::min<size_t>(bytes.size(), 512));
  if (bytes.size() < 9 || front[8] != '{')
    if (const std::string other = other_kind_or_text(front, bytes.size()); !other.empty())
      fail(file, ": not a safetensors file: it is ", other);
  check(bytes.size() >= 8, file, ": not a safetensors file: it has ", bytes.size(),
        " bytes, the header length takes 8");
  const auto header_size = load_le<uint64_t>(bytes.data, 0);
  check(header_size <= kMaxHeaderBytes, file, ": not a safetensors file: header length ", header_size,
        " is above the limit of ", kMaxHeaderBytes);
  check(header_size <= bytes.size() - 8, file, ": header length ", header_size, " exceeds the file's ", bytes.size(),
        " bytes; the file is cut short (it should have more than ", header_size + 8, ") or of another format");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data.data()) + 8, header_size);
  check(header.starts_with('{'), file, ": not a safetensors file: the header must begin with '{'");

  HeaderHandler handler(file);
  nlohmann::json::sax_parse(header.begin(), header.end(), &handler);
  auto& entries = handler.entries;

  const size_t data_begin = 8 + header_size;
  const size_t data_size = bytes.size() - data_begin;
  // In order of offset (empty tensors first), each tensor must begin where the one before it ended.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  const uint64_t announced = entries.empty() ? 0 : entries.back().offsets[1];
  uint64_t expected_begin = 0;
  Safetensors out;
  for (const Entry& entry : entries) {
    const int64_t unread = unread_types == UnreadTypes::kPassOver ? unread_bytes(entry) : 0;
    const auto dtype = unread > 0 ? at::kByte : parse_dtype(entry, file);
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    check(begin <= end && end <= data_size, file, ": tensor '", entry.name, "': data_offsets [", begin, ", ", end,
          "] leave the ", data_size, " bytes of data; the file is cut short or damaged: it has ", bytes.size(),
          " bytes, its header announces ", data_begin + announced);
    const auto numel = checked_numel(entry.shape);
    const auto count = numel && unread > 0 ? checked_numel(std::array{*numel, unread}) : numel;
    const auto size = count ? checked_bytes(*count, dtype) : std::nullopt;
    check(size.has_value(), file, ": tensor '", entry.name, "': its shape has more elements than 63 bits can count");
    check(static_cast<uint64_t>(*size) == end - begin, file, ": tensor '", entry.name, "': shape and dtype ask for ",
          *size, " bytes, data_offsets give ", end - begin);
    check(begin == expected_begin, file, ": tensor '", entry.name, "' begins at ", begin,
          begin < expected_begin ? ", inside the tensor before it" : ", which leaves a hole after byte ",
          begin < expected_begin ? "" : std::to_string(expected_begin));
    expected_begin = end;
    if (unread > 0) {
      check(out.unread.emplace(entry.name, entry.dtype).second, file, ": tensor '", entry.name, "' stands there twice");
      continue;
    }
    const Bytes part = bytes.part(data_begin + begin, end - begin, file + ": tensor '" + entry.name + "'");
    check(out.tensors.emplace(entry.name, tensor_over(part, entry.shape, dtype)).second, file, ": tensor '", entry.name,
          "' stands there twice");
  }
  check(expected_begin == data_size, file, ": ", data_size - expected_begin, " bytes after the last tensor");
  out.metadata = std::move(handler.metadata);
  return out;
}

Safetensors read_safetensors(const std::filesystem::path& path, UnreadTypes unread) {
  if (std::filesystem::is_directory(path)) {
    for (const char* name : {"model.safetensors.index.json", "model.safetensors",
                             "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"})
      if (std::filesystem::exists(path / name)) return read_safetensors(path / name, unread);
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
    check(!found.empty(), path.string(), ": the folder holds no safetensors file", other_weights_in(path));
    check(found.size() == 1, path.string(), ": the folder holds ", found.size(),
          " safetensors files and no index; name one of them");
    return read_safetensors(found.front(), unread);
  }
  return path.extension() == ".json" ? read_sharded(path, unread) : parse_safetensors(map_bytes(path), unread);
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // No gaps are allowed between tensors, so alignment comes from order: the wide types first.
  std::vector<const TensorMap::value_type*> order;
  for (const auto& entry : tensors) {
    check(entry.first != kMetadataKey, "safetensors: '", kMetadataKey, "' cannot be the name of a tensor");
    check(entry.second.defined(), "safetensors: tensor '", entry.first, "' is undefined");
    check(entry.second.layout() == at::kStrided, "safetensors: tensor '", entry.first, "' is sparse");
    dtype_code(entry.first, entry.second);
    order.push_back(&entry);
  }
  const auto element_size = [](const Tensor& t) { return at::elementSize(t.scalar_type()); };
  std::stable_sort(order.begin(), order.end(),
                   [&](const auto* a, const auto* b) { return element_size(a->second) > element_size(b->second); });
  std::map<std::string, uint64_t> begin_of;
  uint64_t position = 0;
  for (const auto* entry : order) {
    begin_of[entry->first] = position;
    position += static_cast<uint64_t>(entry->second.numel()) * element_size(entry->second);
  }

  std::string header = "{";
  if (!metadata.empty()) {
    header += json_string(kMetadataKey) + ":{";
    for (const auto& [key, value] : metadata)
      header += (header.back() == '{' ? "" : ",") + json_string(key) + ":" + json_string(value);
    header += "}";
  }
  for (const auto& [name, tensor] : tensors) {
    const uint64_t begin = begin_of[name];
    const uint64_t end = begin + static_cast<uint64_t>(tensor.numel()) * element_size(tensor);
    header += (header.size() > 1 ? "," : "") + json_string(name) + ":{\"dtype\":\"" + dtype_code(name, tensor) +
              "\",\"shape\":[";
    for (int64_t i = 0; i < tensor.dim(); ++i) header += (i ? "," : "") + std::to_string(tensor.size(i));
    header += "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');  // the first tensor stands at a multiple of 8
  check(header.size() <= kMaxHeaderBytes, "safetensors: the header would take ", header.size(), " bytes, the limit is ",
        kMaxHeaderBytes);

  write_file_atomically(path, [&](std::ostream& out) {
    const uint64_t header_size = header.size();
    out.write(reinterpret_cast<const char*>(&header_size), 8);
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const auto* entry : order) {
      const Tensor dense = entry->second.detach().cpu().contiguous();
      out.write(static_cast<const char*>(dense.data_ptr()), static_cast<std::streamsize>(dense.nbytes()));
      if (!out) return;  // the caller reports the stream's error
    }
  });
}

}  // namespace crescendo
