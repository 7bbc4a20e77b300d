// JSON through nlohmann::json, with our errors and with key order kept.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace crescendo {

using Json = nlohmann::ordered_json;

// `what` names the text in the error ("models/x/config.json"); the message gives line and column of the fault.
Json parse_json(std::string_view text, std::string_view what);
Json read_json(const std::filesystem::path& path);
// How JSON is written: what is no UTF-8 in a string becomes U+FFFD, where dump() would throw. On one line, or
// with each level indented by so many spaces.
std::string json_text(const Json& value, int indent = -1);
// Indented by two, with a final newline, written atomically.
void write_json(const std::filesystem::path& path, const Json& value);
// As a line at the end of a log, which is there at once; throws where it cannot be written.
void append_json_line(const std::filesystem::path& path, const Json& value);

}  // namespace crescendo
