#include "crescendo/core/json.h"

#include <algorithm>
#include <fstream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/other_kind.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

Json parse_json(std::string_view text, std::string_view what) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& e) {
    const size_t at = std::min(text.size(), e.byte > 0 ? e.byte - 1 : 0);
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const size_t line_start = text.substr(0, at).rfind('\n');
    const size_t column = line_start == std::string_view::npos ? at + 1 : at - line_start;
    const std::string other = other_kind(text.substr(0, 512), text.size());
    fail(what, " is not valid JSON: line ", line, ", column ", column,
         is_valid_utf8(text) ? "" : " (a string that is not UTF-8)", other.empty() ? "" : "; it is " + other);
  } catch (const Json::out_of_range&) {
    fail(what, " is not usable JSON: it holds a number beyond all that a computer can hold");
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(decode_text(read_file(path), path.string()), path.string());
}

std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void write_json(const std::filesystem::path& path, const Json& value) {
  write_file_atomically(path, json_text(value, 2) + "\n");
}

void append_json_line(const std::filesystem::path& path, const Json& value) {
  std::ofstream log(path, std::ios::app);
  log << json_text(value) << std::endl;  // flushed, or a full disk would go unseen
  check(log.good(), "cannot write ", path.string());
}

}  // namespace crescendo
