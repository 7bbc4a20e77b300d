#include "crescendo/io/checkpoint.h"

#include <algorithm>
#include <string_view>

#include "crescendo/core/check.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

bool has_tensors(const PickleValue& value) {
  if (!value.is(PickleValue::Kind::kDict)) return false;
  return std::any_of(value.entries().begin(), value.entries().end(),
                     [](const auto& entry) { return entry.second.is(PickleValue::Kind::kTensor); });
}

// Null where the text is another program's.
Json own_config(const std::string& text) {
  const Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return config.is_object() ? config : Json();
}

void read_torch(Checkpoint& out, const fs::path& path) {
  const PickleValue root = read_torch_file(path);
  check(root.is(PickleValue::Kind::kDict), out.name, ": expected a dict at the top, got ", root.kind_name());
  if (has_tensors(root)) out.sets[""] = tensors_at(root, "", out.name);
  for (const auto& [key, value] : root.entries()) {
    if (!key.is(PickleValue::Kind::kString) || value.is(PickleValue::Kind::kTensor)) continue;
    const std::string& name = key.as_string();
    if (has_tensors(value))
      out.sets[name] = tensors_at(root, name, out.name);
    else if (name != "args" && name != kTorchConfigKey)
      out.others.push_back(name);
  }
  out.args = args_at(root, "args");
  if (const PickleValue* config = root.find(kTorchConfigKey); config && config->is(PickleValue::Kind::kString))
    out.config = own_config(config->as_string());
}

void read_safe(Checkpoint& out, const fs::path& path) {
  Safetensors file = read_safetensors(path);
  out.sets[""] = std::move(file.tensors);
  out.metadata = std::move(file.metadata);
  if (const auto it = out.metadata.find(kMetadataConfigKey); it != out.metadata.end())
    out.config = own_config(it->second);
}

}  // namespace

FileForm file_form(const fs::path& path) {
  check(fs::exists(path), "cannot read ", path.string(), ": there is no such file or folder");
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".safetensors") return FileForm::kSafetensors;
    return FileForm::kUnknown;
  }
  if (path.extension() == ".json") return FileForm::kSafetensors;  // an index
  const Bytes bytes = map_bytes(path);
  const std::string_view head(reinterpret_cast<const char*>(bytes.data.data()), std::min<size_t>(bytes.size(), 16));
  if (head.starts_with("\x93NUMPY")) return FileForm::kNpy;
  if (head.starts_with("\x80\x02")) return FileForm::kTorchLegacy;
  if (head.size() > 8 && head[8] == '{') return FileForm::kSafetensors;
  if (!head.starts_with("PK")) return FileForm::kUnknown;
  const ZipReader archive(bytes);
  const auto& members = archive.members();
  const bool arrays =
      std::all_of(members.begin(), members.end(), [](const auto& m) { return m.name.ends_with(".npy"); });
  return arrays && !members.empty() ? FileForm::kNpz : FileForm::kTorchZip;
}

const char* form_name(FileForm form) {
  switch (form) {
    case FileForm::kTorchZip:
      return "PyTorch";
    case FileForm::kTorchLegacy:
      return "PyTorch, before 1.6";
    case FileForm::kSafetensors:
      return "safetensors";
    case FileForm::kNpz:
      return "npz";
    case FileForm::kNpy:
      return "npy";
    case FileForm::kUnknown:
      break;
  }
  return "unknown";
}

Checkpoint read_checkpoint(const fs::path& path) {
  Checkpoint out;
  out.name = path.string();
  out.form = file_form(path);
  switch (out.form) {
    case FileForm::kTorchZip:
    case FileForm::kTorchLegacy:
      read_torch(out, path);
      return out;
    case FileForm::kSafetensors:
      read_safe(out, path);
      return out;
    case FileForm::kNpz:
    case FileForm::kNpy:
      fail(out.name, " holds NumPy arrays, not a model's weights");
    case FileForm::kUnknown:
      break;
  }
  fail(out.name, fs::is_directory(path) ? ": the folder holds neither a model nor safetensors"
                                        : ": neither a PyTorch checkpoint nor safetensors, by its first bytes");
}

}  // namespace crescendo
