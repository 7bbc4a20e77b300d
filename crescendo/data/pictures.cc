#include "crescendo/data/pictures.h"

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/data/dataset.h"
#include "crescendo/data/picture_files.h"
#include "crescendo/image/resize.h"

namespace crescendo {

std::vector<NamedPicture> read_pictures(std::span<const std::string> inputs, int64_t side, int64_t count) {
  std::vector<NamedPicture> out;
  const auto enough = [&](size_t begin) { return count > 0 && out.size() - begin >= static_cast<size_t>(count); };
  for (const auto& input : inputs) {
    const size_t begin = out.size();
    if (input == "shapes" || input == "scenes" || input.starts_with("shapes:") || input.starts_with("scenes:")) {
      const auto set = open_dataset(input, side > 0 ? side : kShapesSide);
      check_usage(count > 0, "how many pictures of ", input, "? Give a count");
      for (int64_t i = 0; i < set->size() && !enough(begin); ++i)
        out.push_back({concat(input, " ", i), tensor_to_image(set->get(i).image)});
      continue;
    }
    std::vector<std::filesystem::path> files{input};
    if (std::filesystem::is_directory(input)) {
      const PictureFiles found = find_pictures(input);
      files = found.pictures;
      check(!files.empty(), input, " holds no .png, .jpg, .jpeg or .webp file");
      if (!found.unread.empty()) log_warning(concat(input, ": ", found.unread_text(), ", left out"));
    }
    for (const auto& file : files) {
      if (enough(begin)) break;
      const Image image = read_image(file);
      out.push_back({file.string(), side > 0 ? centre_crop(image, side) : image});
    }
  }
  return out;
}

}  // namespace crescendo
