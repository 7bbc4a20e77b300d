#include "crescendo/data/captioned.h"

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"
#include "crescendo/data/image_folder.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::unique_ptr<Dataset> captioned(const fs::path& file, std::vector<PictureFile> pictures, int64_t side) {
  check_usage(!pictures.empty(), file.string(), ": holds no pictures with captions");
  return std::make_unique<FileDataset>(file.parent_path(), std::move(pictures), std::vector<std::string>{},
                                       /*captioned=*/true, side);
}

}  // namespace

std::string read_caption(const fs::path& text) { return trimmed(read_text_file(text)); }

std::unique_ptr<Dataset> open_caption_lines(const fs::path& file, int64_t side) {
  const std::string text = read_text_file(file);
  std::vector<PictureFile> pairs;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.empty()) continue;
    const std::string where = concat(file.string(), ", line ", number);
    const Json json = parse_json(line, where);
    check(json.is_object() && json.contains("image") && json["image"].is_string() && json.contains("caption") &&
              json["caption"].is_string(),
          where, ": should be {\"image\": path, \"caption\": text}, got ", line.substr(0, 120));
    pairs.push_back({file.parent_path() / json["image"].get<std::string>(), json["caption"].get<std::string>()});
  }
  return captioned(file, std::move(pairs), side);
}

std::unique_ptr<Dataset> open_caption_list(const fs::path& file, int64_t side) {
  const Json json = read_json(file);
  check(json.is_array(), file.string(), ": should be a list of [path, caption, ...]");
  std::vector<PictureFile> pairs;
  for (const Json& item : json) {
    check(item.is_array() && item.size() >= 2 && item[0].is_string() && item[1].is_string(), file.string(), ", item ",
          pairs.size(), ": should be [path, caption, ...], got ", json_text(item).substr(0, 120));
    pairs.push_back({file.parent_path() / item[0].get<std::string>(), item[1].get<std::string>()});
  }
  return captioned(file, std::move(pairs), side);
}

}  // namespace crescendo
