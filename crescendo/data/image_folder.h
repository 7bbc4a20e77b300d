// Pictures in folders, one folder a class, as ImageNet is published: root/<class>/<anything>.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"

namespace crescendo {

// Files that end in .jpg, .jpeg or .png in any case.
bool is_picture_name(const std::filesystem::path& path);

class ImageFolder : public Dataset {
 public:
  // Classes are the folders of root, or of root/train where there is one, sorted by name; pictures lie at any depth
  // below. A class without pictures is an error, as its number would be taken for nothing.
  ImageFolder(const std::filesystem::path& root, int64_t side);
  static bool has_classes(const std::filesystem::path& root);

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  Sample get(int64_t index) const override;
  int64_t label(int64_t index) const override;
  const std::filesystem::path& file(int64_t index) const { return files_.at(static_cast<size_t>(index)); }

 private:
  int64_t side_;
  std::vector<std::string> classes_;
  std::vector<std::filesystem::path> files_;
  std::vector<int64_t> labels_;
};

// Reads a picture and crops it to (3, side, side) uint8.
Tensor read_cropped(const std::filesystem::path& file, int64_t side);

}  // namespace crescendo
