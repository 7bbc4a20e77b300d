// Captions: beside a picture, or in a file that names pictures with theirs.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "crescendo/data/dataset.h"

namespace crescendo {

// Without the white space around it.
std::string read_caption(const std::filesystem::path& text);

// Lines of {"image": path, "caption": text}; other keys are allowed.
std::unique_ptr<Dataset> open_caption_lines(const std::filesystem::path& file, int64_t side);
// One JSON list of [path, caption, ...].
std::unique_ptr<Dataset> open_caption_list(const std::filesystem::path& file, int64_t side);

}  // namespace crescendo
