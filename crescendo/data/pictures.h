// Pictures named on a command line or by a program: files, folders of them, and sets that are drawn.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "crescendo/core/tensor.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct NamedPicture {
  std::string name;  // for messages
  Image image;
};

// Files, folders (their pictures at any depth, by name) and shapes or scenes (data/dataset.h), at most `count` of each
// where that is not 0. With a `side` that is not 0 each is cropped to a square of it.
std::vector<NamedPicture> read_pictures(std::span<const std::string> inputs, int64_t side, int64_t count);

}  // namespace crescendo
