// Pictures with captions, for text models: three layouts that people have.
#pragma once

#include <filesystem>
#include <memory>

#include "crescendo/data/dataset.h"

namespace crescendo {

// DIR/name.{jpg,jpeg,png} beside name.txt; a picture without its text is an error.
std::unique_ptr<Dataset> open_caption_folder(const std::filesystem::path& folder, int64_t side);
// Lines of {"image": path, "caption": text}; other keys are allowed.
std::unique_ptr<Dataset> open_caption_lines(const std::filesystem::path& file, int64_t side);
// One JSON list of [path, caption, ...].
std::unique_ptr<Dataset> open_caption_list(const std::filesystem::path& file, int64_t side);

}  // namespace crescendo
