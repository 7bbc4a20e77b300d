// Pictures in files, with a class, a caption or both; and how a folder of them is understood.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

struct PictureFile {
  std::filesystem::path path;
  std::string caption;
  int64_t label = 0;
};

class FileDataset : public Dataset {
 public:
  // Without captions the class names serve. `root`: the names of its pictures are relative to it in identities.
  // `uncaptioned`: why captions cannot be had, thrown where one is asked for.
  FileDataset(const std::filesystem::path& root, std::vector<PictureFile> files, std::vector<std::string> classes,
              bool captioned, int64_t side, std::string uncaptioned = "");

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override { return file(index).label; }
  std::string caption(int64_t index) const override;
  bool of_files() const override { return true; }
  std::string name(int64_t index) const override { return file(index).path.string(); }
  PictureIdentity identity(int64_t index) const override;

 private:
  const PictureFile& file(int64_t index) const;

  std::filesystem::path root_;
  std::vector<PictureFile> files_;
  std::vector<std::string> classes_;
  bool captioned_;
  int64_t side_;
  std::string uncaptioned_;
};

// Class folders, captions beside the pictures, or both. Pictures lie at any depth.
//
// - Where all folders of `root` are splits (train, val, valid, validation, test), or train alone with folders and no
//   pictures in it, `train` is the root, and the log says so.
// - Folders are classes, sorted by name. One without pictures is an error, as its class would have no examples.
// - name.txt beside name.png is its caption; all pictures have one or none has. Pictures that share a name share it.
//   Where only some have one, classes can be had, and asking for a caption is an error.
// - Captioned pictures in `root` itself make a set without classes.
std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root, int64_t side);

}  // namespace crescendo
