// Which files of a folder are pictures of a data set: by name, at any depth, without what systems leave there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace crescendo {

// Files that end in .png, .jpg, .jpeg, .jpe, .jfif or .webp in any case and are neither hidden nor a system's.
bool is_picture_name(const std::filesystem::path& path);

// Hidden entries (.ipynb_checkpoints, ._x.jpg) and those that systems make: @eaDir, __MACOSX, lost+found,
// $RECYCLE.BIN and the like.
bool is_left_out(const std::filesystem::path& path);

struct PictureFiles {
  std::vector<std::filesystem::path> pictures;  // sorted
  std::vector<std::filesystem::path> texts;     // files that end in .txt in any case, sorted
  std::map<std::string, int64_t> unread;        // pictures of formats that are not read, by extension

  void append(const PictureFiles& more);
  // "5 pictures of formats that are not read (2 .bmp, 3 .gif)"; empty where there are none.
  std::string unread_text() const;
};

// Links to files count under their own names; one that leads nowhere counts as a picture, so that it is missed. Links
// to folders are followed, each folder once; one to a folder that the link lies in is not. `below`: files of folders
// inside, at any depth, too.
PictureFiles find_pictures(const std::filesystem::path& folder, bool below = true);

// Folders in `folder`, sorted, without those left out and links to a folder around.
std::vector<std::filesystem::path> visible_folders(const std::filesystem::path& folder);

}  // namespace crescendo
