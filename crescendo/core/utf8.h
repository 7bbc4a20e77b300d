// Text from outside: bytes of any origin -> UTF-8.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace crescendo {

// The character at the front of a text.
struct Utf8Step {
  size_t length;  // bytes taken
  bool valid;
};
Utf8Step utf8_step(std::string_view text);  // not empty

// Every stretch of bytes that cannot be part of a character becomes one U+FFFD: the longest stretch that could have
// begun a character counts as one (Unicode 15, table 3-8, as WHATWG decoders and Python do).
bool is_valid_utf8(std::string_view bytes);
std::string replace_invalid_utf8(std::string_view bytes);

// A name or a prompt from outside: without a byte-order mark in front, and valid UTF-8.
std::string clean_text(std::string_view given);

// What the bytes of a text file say: a byte-order mark is taken off, and UTF-16 behind one becomes UTF-8. UTF-32 and
// zero bytes (UTF-16 without a mark, or no text) are refused; `name` names the file. UTF-8 itself is not checked.
std::string decode_text(std::string bytes, const std::string& name);
// As decode_text, of a file that people write. What is no UTF-8 becomes U+FFFD, with a warning that names its line.
std::string read_text_file(const std::filesystem::path& path);
// Without their ends, which may be "\n", "\r\n" or "\r". An end behind the last line begins no further one.
std::vector<std::string> text_lines(std::string_view text);

// For one line of a terminal or log: valid UTF-8, and control characters as "\n" or "\x1b". Tabs stay.
std::string printable(std::string_view text);

}  // namespace crescendo
