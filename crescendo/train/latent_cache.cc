#include "crescendo/train/latent_cache.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <set>
#include <unordered_map>

#include "crescendo/core/check.h"
#include "crescendo/core/hash.h"

namespace crescendo {

namespace {

constexpr const char* kFormat = "crescendo-latents-2";

std::string hexadecimal(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

using Rows = std::unordered_map<uint64_t, int64_t>;  // name of a picture -> its row

Rows rows_by_name(const Tensor& pictures) {
  Rows rows;
  const int64_t* p = pictures.data_ptr<int64_t>();
  for (int64_t i = 0; i < pictures.size(0); ++i) rows.emplace(static_cast<uint64_t>(p[3 * i]), i);
  return rows;
}

// "3 images are new (e.g. a.png)"
std::string counted(int64_t count, const std::string& what, const std::string& example = "") {
  return concat(count, count == 1 ? " image " : " images ", what, example.empty() ? "" : " (e.g. " + example + ")");
}

// What is not alike in the pictures of two sets.
std::vector<std::string> picture_differences(const Tensor& before, const Tensor& now, const Dataset& dataset) {
  if (at::equal(before, now)) return {};
  const Rows rows = rows_by_name(before);
  const int64_t* old = before.data_ptr<int64_t>();
  const int64_t* p = now.data_ptr<int64_t>();
  struct Kind {
    int64_t count = 0;
    std::string example;
    void add(const std::string& name) {
      if (count++ == 0) example = name;
    }
  } added, changed, renamed;
  std::set<int64_t> met;
  for (int64_t i = 0; i < now.size(0); ++i) {
    const auto it = rows.find(static_cast<uint64_t>(p[3 * i]));
    if (it == rows.end()) {
      added.add(dataset.name(i));
      continue;
    }
    met.insert(it->second);
    if (old[3 * it->second + 1] != p[3 * i + 1]) changed.add(dataset.name(i));
    if (old[3 * it->second + 2] != p[3 * i + 2]) renamed.add(dataset.name(i));
  }
  const auto gone = static_cast<int64_t>(rows.size() - met.size());
  std::vector<std::string> words;
  if (added.count > 0) words.push_back(counted(added.count, "new", added.example));
  if (gone > 0) words.push_back(counted(gone, "gone"));
  if (changed.count > 0) words.push_back(counted(changed.count, "of another size or date", changed.example));
  if (renamed.count > 0) words.push_back(counted(renamed.count, "with another caption or class", renamed.example));
  if (words.empty()) words.emplace_back("another order of the images");
  return words;
}

}  // namespace

std::string tokenizer_fingerprint(const KlVae& vae) {
  Hash64 hash;
  hash.add(json_text(value_to_json(vae.config())));
  for (const auto& [name, p] : vae.params().items()) {
    const Tensor bytes = p.detach().to(at::kCPU).contiguous();
    hash.add(name).add(concat(bytes.sizes(), bytes.scalar_type()));
    hash.add(std::string_view(static_cast<const char*>(bytes.data_ptr()), bytes.nbytes()));
  }
  return hexadecimal(hash.value());
}

LatentOrigin::LatentOrigin(const Dataset& dataset, const std::string& spec, const KlVae& vae, bool flip, int64_t side) {
  Hash64 classes;
  for (const std::string& name : dataset.classes()) classes.add(name);
  metadata = {{"format", kFormat},
              {"data", dataset.of_files() ? "files" : spec},
              {"classes", hexadecimal(classes.value())},
              {"side", std::to_string(side)},
              {"tokenizer", tokenizer_fingerprint(vae)},
              {"flip", flip ? "yes" : "no"}};
  pictures = at::empty({dataset.size(), 3}, at::kLong);
  int64_t* p = pictures.data_ptr<int64_t>();
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const PictureIdentity id = dataset.identity(i);
    for (const uint64_t part : {id.name, id.content, id.meaning}) *p++ = static_cast<int64_t>(part);
  }
}

std::optional<LatentCache> LatentCache::open(const std::filesystem::path& file) {
  if (file.empty() || !std::filesystem::exists(file)) return std::nullopt;
  try {
    LatentCache cache(read_safetensors(file));
    if (cache.word("format") != kFormat) return std::nullopt;
    const EncodedSet set = cache.set();
    const int64_t rows = set.labels.size(0);
    const Tensor pictures = cache.tensor("pictures");
    const bool fits = set.labels.scalar_type() == at::kLong && pictures.scalar_type() == at::kLong &&
                      pictures.dim() == 2 && pictures.size(0) == rows && pictures.size(1) == 3 &&
                      set.moments.dim() == 4 && set.moments.size(0) == rows &&
                      (!set.moments_flip.defined() || set.moments_flip.sizes() == set.moments.sizes());
    if (fits) return cache;
  } catch (const Error&) {
    // A file that is damaged or something else is as good as none.
  }
  return std::nullopt;
}

void LatentCache::write(const std::filesystem::path& file, const EncodedSet& set, const LatentOrigin& origin,
                        const std::vector<int64_t>& rows) {
  const bool all = static_cast<int64_t>(rows.size()) == origin.pictures.size(0);
  const Tensor index = at::tensor(rows, at::kLong);
  const auto some = [&](const Tensor& whole) { return all ? whole : whole.index_select(0, index); };
  TensorMap tensors{{"moments", some(set.moments)}, {"labels", some(set.labels)}, {"pictures", some(origin.pictures)}};
  if (set.moments_flip.defined()) tensors["moments_flip"] = some(set.moments_flip);
  auto metadata = origin.metadata;
  metadata["finished"] = all ? "yes" : "no";
  write_safetensors(file, tensors, metadata);
}

std::string LatentCache::word(const std::string& key) const {
  const auto it = file_.metadata.find(key);
  return it == file_.metadata.end() ? "" : it->second;
}

Tensor LatentCache::tensor(const std::string& name) const {
  const auto it = file_.tensors.find(name);
  check(it != file_.tensors.end(), "the cache of latents lacks ", name);
  return it->second;
}

bool LatentCache::finished() const { return word("finished") == "yes"; }

EncodedSet LatentCache::set() const {
  return {tensor("moments"), word("flip") == "yes" ? tensor("moments_flip") : Tensor(), tensor("labels")};
}

std::vector<std::string> LatentCache::differences(const LatentOrigin& origin, const Dataset& dataset) const {
  std::vector<std::string> words;
  const std::map<std::string, std::string> spoken{{"tokenizer", "another tokenizer"},
                                                  {"side", "another side of the images"},
                                                  {"flip", "another flip"},
                                                  {"classes", "other class names"}};
  for (const auto& [key, text] : spoken)
    if (word(key) != origin.metadata.at(key)) words.push_back(text);
  if (word("data") != origin.metadata.at("data"))
    words.push_back(concat("`data` ", word("data"), " before, ", origin.metadata.at("data"), " now"));
  else if (finished())
    for (std::string& text : picture_differences(tensor("pictures"), origin.pictures, dataset))
      words.push_back(std::move(text));
  return words;
}

std::vector<int64_t> LatentCache::rows_of(const LatentOrigin& origin) const {
  std::vector<int64_t> found(static_cast<size_t>(origin.pictures.size(0)), -1);
  for (const char* key : {"tokenizer", "side", "flip", "data"})
    if (word(key) != origin.metadata.at(key)) return found;
  const Tensor pictures = tensor("pictures");
  const Rows rows = rows_by_name(pictures);
  const int64_t* old = pictures.data_ptr<int64_t>();
  const int64_t* p = origin.pictures.data_ptr<int64_t>();
  for (size_t i = 0; i < found.size(); ++i) {
    const auto it = rows.find(static_cast<uint64_t>(p[3 * i]));
    if (it != rows.end() && old[3 * it->second + 1] == p[3 * i + 1]) found[i] = it->second;
  }
  return found;
}

std::function<bool(const PictureIdentity&)> LatentCache::has_picture() const {
  const Tensor pictures = tensor("pictures");
  return [pictures, rows = rows_by_name(pictures)](const PictureIdentity& id) {
    const auto it = rows.find(id.name);
    return it != rows.end() && pictures.data_ptr<int64_t>()[3 * it->second + 1] == static_cast<int64_t>(id.content);
  };
}

}  // namespace crescendo
