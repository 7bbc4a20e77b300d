#include "crescendo/core/json.h"

#include <algorithm>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/other_kind.h"

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
    fail(what, " is not valid JSON: line ", line, ", column ", column, other.empty() ? "" : "; it is " + other);
  } catch (const Json::exception& e) {
    fail(what, " is not usable JSON: ", e.what());
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

void write_json(const std::filesystem::path& path, const Json& value) {
  write_file_atomically(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace crescendo
