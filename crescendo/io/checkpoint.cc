#include "crescendo/io/checkpoint.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/core/other_kind.h"
#include "crescendo/io/safetensors.h"
#include "crescendo/io/torch_zip.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// Tensors, also of types that are not read.
bool has_tensors(const PickleValue& value) {
  if (!value.is(PickleValue::Kind::kDict)) return false;
  return std::any_of(value.entries().begin(), value.entries().end(), [](const auto& entry) {
    const PickleValue& v = entry.second;
    return v.is(PickleValue::Kind::kTensor) ||
           (v.is(PickleValue::Kind::kForeign) && v.as_string().starts_with("torch."));
  });
}

// Keys under which training programs put a set of weights into another dict.
constexpr std::array<std::string_view, 12> kUsualKeys = {"model",      "model_ema",      "ema",     "ema_model",
                                                         "state_dict", "ema_state_dict", "params",  "params_ema",
                                                         "weights",    "module",         "network", "generator"};
constexpr int kMostLevels = 3;

// The sets in `value`, called `name`, and in the dicts within it that have a usual key.
void add_sets(Checkpoint& out, const std::string& name, const PickleValue& value, int level) {
  if (has_tensors(value)) {
    out.sets[name];
    for (const auto& [key, entry] : value.entries()) {
      if (!key.is(PickleValue::Kind::kString)) continue;
      if (entry.is(PickleValue::Kind::kTensor)) out.sets[name].emplace(key.as_string(), entry.as_tensor());
      if (entry.is(PickleValue::Kind::kForeign)) out.unread[name].emplace(key.as_string(), entry.as_string());
    }
  }
  if (level == kMostLevels || !value.is(PickleValue::Kind::kDict)) return;
  for (const auto& [key, entry] : value.entries()) {
    if (!key.is(PickleValue::Kind::kString) || entry.is(PickleValue::Kind::kTensor)) continue;
    const std::string& child = key.as_string();
    if (level == 0 && child == "args") continue;
    if (level == 0 || std::find(kUsualKeys.begin(), kUsualKeys.end(), child) != kUsualKeys.end())
      add_sets(out, name.empty() ? child : name + "." + child, entry, level + 1);
  }
}

// Null where the text is another program's.
Json own_config(const std::string& text) {
  const Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return config.is_object() ? config : Json();
}

void warn_of_foreign(const Checkpoint& file) {
  constexpr size_t kMostNamed = 40;
  int64_t objects = 0;
  std::string names;
  size_t named = 0;
  for (const auto& [name, count] : file.foreign) {
    objects += count;
    if (++named <= kMostNamed) names += concat(names.empty() ? "" : ", ", name, count > 1 ? concat(" x ", count) : "");
  }
  if (named > kMostNamed) names += concat(" and ", named - kMostNamed, " more");
  if (objects > 0)
    log_warning(concat(file.name, ": ", objects, objects == 1 ? " object" : " objects",
                       " of other programs passed over, nothing of them executed: ", names));
}

void read_torch(Checkpoint& out, const fs::path& path) {
  const PickleValue root = read_torch_file(path);
  check(root.is(PickleValue::Kind::kDict), out.name, ": expected a dict at the top, got ", root.kind_name());
  add_sets(out, "", root, 0);
  for (const auto& entry : root.entries()) {
    if (!entry.first.is(PickleValue::Kind::kString) || entry.second.is(PickleValue::Kind::kTensor)) continue;
    const std::string& name = entry.first.as_string();
    const bool holds_sets = std::any_of(out.sets.begin(), out.sets.end(), [&](const auto& set) {
      return set.first == name || set.first.starts_with(name + ".");
    });
    if (!holds_sets && name != "args" && name != kTorchConfigKey) out.others.push_back(name);
  }
  out.args = args_at(root, "args");
  if (const PickleValue* config = root.find(kTorchConfigKey); config && config->is(PickleValue::Kind::kString))
    out.config = own_config(config->as_string());
  out.foreign = foreign_classes(root);
  warn_of_foreign(out);
}

void read_safe(Checkpoint& out, const fs::path& path) {
  Safetensors file = read_safetensors(path, UnreadTypes::kPassOver);
  out.sets[""] = std::move(file.tensors);
  out.metadata = std::move(file.metadata);
  if (!file.unread.empty()) out.unread[""] = std::move(file.unread);
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
  if (is_pickle(head)) return FileForm::kTorchLegacy;
  if (head.size() > 8 && head[8] == '{') return FileForm::kSafetensors;
  if (!head.starts_with("PK")) return FileForm::kUnknown;
  if (!has_zip_directory(bytes)) return FileForm::kTorchZip;  // whose reader says how much is missing
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
  if (fs::is_directory(path))
    fail(out.name, ": the folder holds neither a model nor safetensors", other_weights_in(path));
  const Bytes bytes = map_bytes(path);
  const std::string_view head(reinterpret_cast<const char*>(bytes.data.data()), std::min<size_t>(bytes.size(), 512));
  const std::string other = other_kind_or_text(head, bytes.size());
  fail(out.name, ": neither a PyTorch checkpoint nor safetensors, by its first bytes",
       !other.empty()      ? ": it is " + other
       : bytes.size() < 32 ? concat(": it has only ", bytes.size(), " of them, so it is cut short")
                           : "");
}

}  // namespace crescendo
