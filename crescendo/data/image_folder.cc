#include "crescendo/data/image_folder.h"

#include <algorithm>
#include <array>
#include <map>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/hash.h"
#include "crescendo/core/join.h"
#include "crescendo/core/log.h"
#include "crescendo/data/captioned.h"
#include "crescendo/data/picture_files.h"
#include "crescendo/image/resize.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

bool is_split_name(std::string name) {
  constexpr std::array<std::string_view, 5> kSplits = {"train", "val", "valid", "validation", "test"};
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return std::find(kSplits.begin(), kSplits.end(), name) != kSplits.end();
}

bool is_train(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name == "train" || name == "Train" || name == "TRAIN";
}

// `root`, or its split to train on.
fs::path training_root(const fs::path& root) {
  const std::vector<fs::path> folders = visible_folders(root);
  const auto is_split = [](const fs::path& folder) { return is_split_name(folder.filename().string()); };
  if (folders.empty() || !std::all_of(folders.begin(), folders.end(), is_split)) return root;
  if (!find_pictures(root, /*below=*/false).pictures.empty()) return root;
  const auto holds_folders = [](const fs::path& folder) {
    return !visible_folders(folder).empty() && find_pictures(folder, /*below=*/false).pictures.empty();
  };
  const auto train = std::find_if(folders.begin(), folders.end(), is_train);
  std::vector<std::string> names;
  for (const fs::path& folder : folders)
    if (!is_train(folder)) names.push_back(folder.filename().string());
  const std::string others = join(names);
  if (train == folders.end()) {
    check_usage(!std::any_of(folders.begin(), folders.end(), holds_folders), root.string(), ": holds the splits ",
                others, " and no train; name the folder of the split to train on, e.g. ", folders.front().string());
    return root;
  }
  if (others.empty() && !holds_folders(*train)) return root;  // a class of that name
  log_info(concat("training on the split ", train->string(), others.empty() ? "" : "; beside it: " + others));
  return *train;
}

// Where each caption lies, by the picture's path without its extension.
std::map<fs::path, fs::path> captions_by_stem(const std::vector<fs::path>& texts) {
  std::map<fs::path, fs::path> by_stem;
  for (const fs::path& text : texts) {
    const auto [it, is_new] = by_stem.emplace(fs::path(text).replace_extension(), text);
    check(is_new, it->second.string(), " and ", text.string(), ": which is the caption? Remove one");
  }
  return by_stem;
}

// What a folder holds, before it is decided what it means.
struct FolderContent {
  PictureFiles found;
  std::vector<PictureFile> files;    // of found.pictures
  std::vector<std::string> classes;  // of the folders
  size_t loose = 0;                  // files in the root itself, the first ones
  std::map<fs::path, fs::path> texts;

  // The first picture of files[begin, end) with, or without a caption; null where there is none.
  const PictureFile* first(bool captioned, size_t begin, size_t end) const {
    for (size_t i = begin; i < end; ++i)
      if (texts.contains(fs::path(files[i].path).replace_extension()) == captioned) return &files[i];
    return nullptr;
  }
  const PictureFile* first(bool captioned) const { return first(captioned, 0, files.size()); }
};

FolderContent read_content(const fs::path& root) {
  FolderContent content;
  content.found = find_pictures(root, /*below=*/false);
  content.loose = content.found.pictures.size();
  content.files.resize(content.loose);
  for (const fs::path& folder : visible_folders(root)) {
    const PictureFiles inside = find_pictures(folder);
    check_usage(!inside.pictures.empty(), folder.string(), ": a class folder without .jpg, .jpeg or .png files",
                inside.unread.empty() ? "" : ", but with " + inside.unread_text(), "; remove it, or fill it");
    content.found.append(inside);
    content.files.resize(content.found.pictures.size(), {{}, {}, static_cast<int64_t>(content.classes.size())});
    content.classes.push_back(folder.filename().string());
  }
  for (size_t i = 0; i < content.files.size(); ++i) content.files[i].path = content.found.pictures[i];
  content.texts = captions_by_stem(content.found.texts);
  return content;
}

}  // namespace

FileDataset::FileDataset(const fs::path& root, std::vector<PictureFile> files, std::vector<std::string> classes,
                         bool captioned, int64_t side, std::string uncaptioned)
    : root_(root),
      files_(std::move(files)),
      classes_(std::move(classes)),
      captioned_(captioned),
      side_(side),
      uncaptioned_(std::move(uncaptioned)) {
  check_usage(!files_.empty(), root.string(), ": holds no pictures");
}

const PictureFile& FileDataset::file(int64_t index) const {
  check_index(index);
  return files_[static_cast<size_t>(index)];
}

Sample FileDataset::get(int64_t index) const {
  const PictureFile& f = file(index);
  return {image_to_bytes(centre_crop(read_image(f.path), side_)), f.label};  // (3, side, side)
}

std::string FileDataset::caption(int64_t index) const {
  const PictureFile& f = file(index);
  check_usage(uncaptioned_.empty(), uncaptioned_);
  return captioned_ ? f.caption : classes_[static_cast<size_t>(f.label)];
}

PictureIdentity FileDataset::identity(int64_t index) const {
  const PictureFile& f = file(index);
  PictureIdentity id;
  const fs::path relative = f.path.lexically_relative(root_);
  id.name = Hash64().add(relative.empty() ? f.path.string() : relative.string()).value();
  std::error_code no_size, no_time;
  const auto size = fs::file_size(f.path, no_size);
  const auto time = fs::last_write_time(f.path, no_time);
  id.content = Hash64()
                   .add(no_size ? uint64_t{0} : static_cast<uint64_t>(size))
                   .add(no_time ? uint64_t{0} : static_cast<uint64_t>(time.time_since_epoch().count()))
                   .value();
  id.meaning = Hash64().add(f.caption).add(static_cast<uint64_t>(f.label)).value();
  return id;
}

std::unique_ptr<Dataset> open_image_folder(const fs::path& given, int64_t side) {
  const fs::path root = training_root(given);
  FolderContent content = read_content(root);
  if (!content.found.unread.empty())
    log_warning(concat(root.string(), ": ", content.found.unread_text(), ", left out; convert them to .png or .jpg"));
  check_usage(!content.files.empty(), root.string(), ": holds neither class folders nor .jpg, .jpeg or .png files");
  const PictureFile* with = content.first(true);
  const PictureFile* without = content.first(false);
  const std::string mixed =
      !with || !without ? ""
                        : concat(root.string(),
                                 ": some pictures have a caption beside them and some have none: ", with->path.string(),
                                 " has, ", without->path.string(), " has not");
  const bool loose_captions = content.first(true, 0, content.loose) != nullptr;
  const bool captioned = with && !without;
  if (content.loose > 0 && !captioned) {
    check_usage(mixed.empty(), mixed, "; give each a .txt, or remove those without");
    check_usage(!content.classes.empty(), content.files.front().path.string(), ": has no ",
                content.files.front().path.stem().string(),
                ".txt with its caption beside it, and the folder has no class folders");
    log_warning(concat(root.string(), ": ", content.loose, content.loose == 1 ? " picture lies" : " pictures lie",
                       " beside the class folders and belong", content.loose == 1 ? "s" : "", " to none, e.g. ",
                       content.files.front().path.string(), ": left out"));
    content.files.erase(content.files.begin(), content.files.begin() + static_cast<std::ptrdiff_t>(content.loose));
  }
  if (captioned)
    for (PictureFile& file : content.files)
      file.caption = read_caption(content.texts.at(fs::path(file.path).replace_extension()));
  if (loose_captions) {
    content.classes.clear();
    for (PictureFile& file : content.files) file.label = 0;
  }
  return std::make_unique<FileDataset>(root, std::move(content.files), std::move(content.classes), captioned, side,
                                       mixed.empty() ? "" : mixed + "; for text give each a .txt, or none");
}

}  // namespace crescendo
