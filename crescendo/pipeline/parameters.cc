#include "crescendo/pipeline/parameters.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "crescendo/core/join.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

// Valid UTF-8 without anything at which some program begins a new line, and without other controls: they become spaces.
std::string one_line(std::string_view given) {
  const std::string text = replace_invalid_utf8(given);
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view character = rest.substr(0, utf8_step(rest).length);
    rest.remove_prefix(character.size());
    const bool separator = character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9";  // U+2028 and U+2029
    const bool control = printable(character) != character || character == "\t";
    out += separator || control ? " " : character;
  }
  return out;
}

std::string value_text(const std::string& value) {
  const bool plain = one_line(value) == value && value.find_first_of(",:\"\\") == std::string::npos &&
                     !value.starts_with(' ') && !value.ends_with(' ');
  return plain ? value : one_line(json_text(Json(value)));
}

// "Steps:" becomes "Steps :", in whatever case it is written.
void part_from_colon(std::string& text, const std::string& key) {
  const std::string wanted = key + ":";
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  auto from = text.begin();
  while ((from = std::search(from, text.end(), wanted.begin(), wanted.end(), same)) != text.end())
    from = text.insert(from + static_cast<std::ptrdiff_t>(key.size()), ' ');
}

}  // namespace

std::string parameters_text(const std::string& prompt, const Parameters& parameters) {
  std::string first = one_line(prompt);
  part_from_colon(first, "Negative prompt");
  for (const auto& entry : parameters) part_from_colon(first, entry.first);
  return first + "\n" +
         join(parameters, ", ", [](const auto& entry) { return entry.first + ": " + value_text(entry.second); });
}

}  // namespace crescendo
