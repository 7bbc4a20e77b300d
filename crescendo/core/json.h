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
// Indented by two, with a final newline, written atomically.
void write_json(const std::filesystem::path& path, const Json& value);

}  // namespace crescendo
