#include "crescendo/data/coco_captions.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <span>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/hash.h"
#include "crescendo/core/json.h"
#include "crescendo/core/rng.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

// COCO's captions were typed by people: some end in blanks or hold a line end.
std::string tidy(std::string text) {
  constexpr const char* kBlank = " \t\r\n";
  for (char& c : text)
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string::npos) return "";
  return clean_text(text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin));
}

int64_t whole(const Json& json, const char* key, const std::string& where) {
  check(json.is_object() && json.contains(key) && json[key].is_number_integer(), where, " needs the whole number '",
        key, "', got ", json_text(json).substr(0, 200));
  return json[key].get<int64_t>();
}

std::string text_at(const Json& json, const char* key, const std::string& where) {
  check(json.contains(key) && json[key].is_string(), where, " needs the text '", key, "', got ",
        json_text(json).substr(0, 200));
  return json[key].get<std::string>();
}

// All captions by id.
std::vector<CocoCaption> all_captions(const std::filesystem::path& file) {
  const Json json = read_json(file);
  check(json.is_object() && json.contains("images") && json["images"].is_array() && json.contains("annotations") &&
            json["annotations"].is_array(),
        file.string(), ": is no file of COCO's captions: it must hold images and annotations");
  const std::string image_where = file.string() + ": an image", caption_where = file.string() + ": an annotation";
  std::map<int64_t, std::string> names;
  for (const Json& image : json["images"])
    names[whole(image, "id", image_where)] = text_at(image, "file_name", image_where);
  std::vector<CocoCaption> captions;
  for (const Json& annotation : json["annotations"]) {
    CocoCaption caption{whole(annotation, "id", caption_where), whole(annotation, "image_id", caption_where), "",
                        tidy(text_at(annotation, "caption", caption_where))};
    const auto name = names.find(caption.image_id);
    check(name != names.end(), caption_where, " is of image ", caption.image_id, ", which images does not list");
    caption.file_name = name->second;
    if (!caption.text.empty()) captions.push_back(std::move(caption));
  }
  std::sort(captions.begin(), captions.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  const auto twice = std::adjacent_find(captions.begin(), captions.end(),
                                        [](const CocoCaption& a, const CocoCaption& b) { return a.id == b.id; });
  check(twice == captions.end(), file.string(), ": two annotations have the id ",
        twice == captions.end() ? 0 : twice->id);
  return captions;
}

}  // namespace

CaptionList read_coco_captions(const std::filesystem::path& file, int64_t count, CaptionRule rule, uint64_t seed) {
  check_usage(count > 0, "`count` must be at least 1, got ", count);
  std::vector<CocoCaption> captions = all_captions(file);
  if (rule == CaptionRule::kOnePerImage) {
    std::set<int64_t> seen;
    std::erase_if(captions, [&](const CocoCaption& c) { return !seen.insert(c.image_id).second; });
    std::sort(captions.begin(), captions.end(), [](const auto& a, const auto& b) { return a.image_id < b.image_id; });
  }
  check(static_cast<int64_t>(captions.size()) >= count, file.string(), ": has ", captions.size(),
        rule == CaptionRule::kOnePerImage ? " images with captions, " : " captions, ", count,
        " were asked for; ask for fewer with `count`");
  Rng(seed, Draw::kShuffle).shuffle(std::span(captions));
  captions.resize(static_cast<size_t>(count));
  Hash64 hash;
  for (const CocoCaption& c : captions) hash.add(static_cast<uint64_t>(c.id)).add(c.text);
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash.value()));
  return {std::move(captions), concat(enum_name(rule), "/seed", seed, "/", count, "/", text)};
}

void write_caption_list(const std::filesystem::path& file, const CaptionList& list) {
  std::string lines;
  for (const CocoCaption& c : list.captions)
    lines += json_text(
                 Json{{"prompt", c.text}, {"image_id", c.image_id}, {"caption_id", c.id}, {"file_name", c.file_name}}) +
             "\n";
  write_file_atomically(file, lines);
}

}  // namespace crescendo
