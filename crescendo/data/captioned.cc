#include "crescendo/data/captioned.h"

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/data/image_folder.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

struct Pair {
  fs::path image;
  std::string caption;
};

class CaptionedImages : public Dataset {
 public:
  CaptionedImages(std::vector<Pair> pairs, int64_t side, const fs::path& source)
      : pairs_(std::move(pairs)), side_(side) {
    check_usage(!pairs_.empty(), source.string(), ": holds no pictures with captions");
  }
  int64_t size() const override { return static_cast<int64_t>(pairs_.size()); }
  const std::vector<std::string>& classes() const override { return no_classes_; }
  Sample get(int64_t index) const override {
    check_index(index);
    return {read_cropped(pairs_[static_cast<size_t>(index)].image, side_), 0};
  }
  int64_t label(int64_t index) const override {
    check_index(index);
    return 0;
  }
  std::string caption(int64_t index) const override {
    check_index(index);
    return pairs_[static_cast<size_t>(index)].caption;
  }

 private:
  std::vector<Pair> pairs_;
  int64_t side_;
  std::vector<std::string> no_classes_;
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace

std::unique_ptr<Dataset> open_caption_folder(const fs::path& folder, int64_t side) {
  std::vector<Pair> pairs;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    if (is_picture_name(it->path()) && it->is_regular_file()) pairs.push_back({it->path(), ""});
  check(!error, folder.string(), ": cannot be read: ", error.message());
  check_usage(!pairs.empty(), folder.string(), ": holds neither class folders nor .jpg, .jpeg or .png files");
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.image < b.image; });
  for (Pair& pair : pairs) {
    const fs::path text = fs::path(pair.image).replace_extension(".txt");
    check_usage(fs::is_regular_file(text), pair.image.string(), ": has no ", text.filename().string(),
                " with its caption beside it, and the folder has no class folders");
    pair.caption = trimmed(read_file(text));
  }
  return std::make_unique<CaptionedImages>(std::move(pairs), side, folder);
}

std::unique_ptr<Dataset> open_caption_lines(const fs::path& file, int64_t side) {
  const std::string text = read_file(file);
  std::vector<Pair> pairs;
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
  return std::make_unique<CaptionedImages>(std::move(pairs), side, file);
}

std::unique_ptr<Dataset> open_caption_list(const fs::path& file, int64_t side) {
  const Json json = read_json(file);
  check(json.is_array(), file.string(), ": should be a list of [path, caption, ...]");
  std::vector<Pair> pairs;
  for (const Json& item : json) {
    check(item.is_array() && item.size() >= 2 && item[0].is_string() && item[1].is_string(), file.string(), ", item ",
          pairs.size(), ": should be [path, caption, ...], got ", item.dump().substr(0, 120));
    pairs.push_back({file.parent_path() / item[0].get<std::string>(), item[1].get<std::string>()});
  }
  return std::make_unique<CaptionedImages>(std::move(pairs), side, file);
}

}  // namespace crescendo
