#include "crescendo/data/picture_files.h"

#include <algorithm>
#include <array>
#include <set>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

template <size_t N>
bool is_one_of(const std::string& text, const std::array<std::string_view, N>& all) {
  return std::find(all.begin(), all.end(), text) != all.end();
}

constexpr std::array<std::string_view, 6> kRead = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"};
constexpr std::array<std::string_view, 27> kUnread = {
    ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pam", ".tga", ".psd",  ".exr",  ".hdr",  ".svg",  ".ico", ".raw", ".dng", ".cr2", ".nef", ".arw"};

// Whether the folder, links resolved, is or holds the folder `inside`.
bool is_around(const fs::path& folder, const fs::path& inside) {
  const auto [end, ignored] = std::mismatch(folder.begin(), folder.end(), inside.begin(), inside.end());
  return end == folder.end();
}

// Folders to go into from `folder`, links resolved in the second place.
std::vector<std::pair<fs::path, fs::path>> folders_of(const fs::path& folder) {
  std::vector<std::pair<fs::path, fs::path>> folders;
  const fs::path here = fs::canonical(folder);
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code dangling;
    if (!entry.is_directory(dangling) || is_left_out(entry.path())) continue;
    fs::path real = fs::canonical(entry.path());
    if (!is_around(real, here)) folders.emplace_back(entry.path(), std::move(real));
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

void collect(const fs::path& folder, bool below, std::set<fs::path>& entered, PictureFiles& found) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    std::error_code dangling;
    const fs::file_type type = entry.status(dangling).type();
    if (is_left_out(path) || (type != fs::file_type::regular && type != fs::file_type::not_found)) continue;
    const std::string extension = lower(path.extension().string());
    if (is_picture_name(path))
      found.pictures.push_back(path);
    else if (extension == ".txt")
      found.texts.push_back(path);
    else if (is_one_of(extension, kUnread))
      ++found.unread[extension];
  }
  if (!below) return;
  for (const auto& [path, real] : folders_of(folder))
    if (entered.insert(real).second) collect(path, below, entered, found);
}

}  // namespace

bool is_left_out(const fs::path& path) {
  constexpr std::array<std::string_view, 11> kSystem = {
      "@eadir",   "@tmp",         "@recycle", "@recently-snapshot",       "#recycle", "#snapshot", "lost+found",
      "__macosx", "$recycle.bin", "recycler", "system volume information"};
  const std::string name = lower(path.filename().string());
  return name.starts_with(".") || is_one_of(name, kSystem);
}

bool is_picture_name(const fs::path& path) {
  return is_one_of(lower(path.extension().string()), kRead) && !is_left_out(path);
}

void PictureFiles::append(const PictureFiles& more) {
  pictures.insert(pictures.end(), more.pictures.begin(), more.pictures.end());
  texts.insert(texts.end(), more.texts.begin(), more.texts.end());
  for (const auto& [extension, count] : more.unread) unread[extension] += count;
}

std::string PictureFiles::unread_text() const {
  int64_t total = 0;
  for (const auto& [extension, count] : unread) total += count;
  const std::string list = join(unread, ", ", [](const auto& kind) { return concat(kind.second, " ", kind.first); });
  if (total == 0) return "";
  return concat(total,
                total == 1 ? " picture of a format that is not read (" : " pictures of formats that are not read (",
                list, ")");
}

PictureFiles find_pictures(const fs::path& folder, bool below) try {
  PictureFiles found;
  std::set<fs::path> entered{fs::canonical(folder)};
  collect(folder, below, entered, found);
  std::sort(found.pictures.begin(), found.pictures.end());
  std::sort(found.texts.begin(), found.texts.end());
  return found;
} catch (const fs::filesystem_error& error) {
  fail(error.path1().string(), ": cannot be read: ", error.code().message());
}

std::vector<fs::path> visible_folders(const fs::path& folder) try {
  std::vector<fs::path> folders;
  for (auto& [path, real] : folders_of(folder)) folders.push_back(path);
  return folders;
} catch (const fs::filesystem_error& error) {
  fail(error.path1().string(), ": cannot be read: ", error.code().message());
}

}  // namespace crescendo
