#include "crescendo/data/image_folder.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/data/transform.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

bool hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

std::vector<fs::path> folders_in(const fs::path& root) {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(root))
    if (entry.is_directory() && !hidden(entry.path())) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  return folders;
}

fs::path class_root(const fs::path& root) { return fs::is_directory(root / "train") ? root / "train" : root; }

}  // namespace

bool is_picture_name(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return (extension == ".jpg" || extension == ".jpeg" || extension == ".png") && !hidden(path);
}

bool ImageFolder::has_classes(const fs::path& root) try {
  return !folders_in(class_root(root)).empty();
} catch (const fs::filesystem_error& error) {
  fail(root.string(), ": cannot be read: ", error.code().message());
}

ImageFolder::ImageFolder(const fs::path& root, int64_t side) try : side_(side) {
  const auto folders = folders_in(class_root(root));
  check_usage(!folders.empty(), root.string(), ": no class folders; pictures are looked for in ", root.string(),
              "/<class>/*.{jpg,jpeg,png}");
  for (const fs::path& folder : folders) {
    const size_t before = files_.size();
    for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink))
      if (is_picture_name(entry.path()) && entry.is_regular_file()) files_.push_back(entry.path());
    check_usage(files_.size() > before, folder.string(), ": a class folder without .jpg, .jpeg or .png files");
    std::sort(files_.begin() + static_cast<std::ptrdiff_t>(before), files_.end());
    labels_.resize(files_.size(), static_cast<int64_t>(classes_.size()));
    classes_.push_back(folder.filename().string());
  }
} catch (const fs::filesystem_error& error) {
  fail(root.string(), ": cannot be read: ", error.code().message());
}

Tensor read_cropped(const fs::path& file, int64_t side) {
  return image_to_bytes(centre_crop(read_image(file), side));  // (3, side, side)
}

Sample ImageFolder::get(int64_t index) const {
  check_index(index);
  return {read_cropped(files_[static_cast<size_t>(index)], side_), labels_[static_cast<size_t>(index)]};
}

int64_t ImageFolder::label(int64_t index) const {
  check_index(index);
  return labels_[static_cast<size_t>(index)];
}

}  // namespace crescendo
