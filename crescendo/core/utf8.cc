#include "crescendo/core/utf8.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"

namespace crescendo {

namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

unsigned byte_at(std::string_view s, size_t i) { return static_cast<unsigned char>(s[i]); }

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

// Without its mark. Half a pair of surrogates, and half a unit at the end, become U+FFFD.
std::string from_utf16(std::string_view bytes, bool big_endian) {
  const auto unit = [&](size_t i) {
    return static_cast<uint32_t>(byte_at(bytes, i + (big_endian ? 0 : 1)) << 8 |
                                 byte_at(bytes, i + (big_endian ? 1 : 0)));
  };
  std::string out;
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    const uint32_t first = unit(i), second = i + 3 < bytes.size() ? unit(i + 2) : 0;
    const bool high = first >= 0xD800 && first < 0xDC00, low = first >= 0xDC00 && first < 0xE000;
    if (high && second >= 0xDC00 && second < 0xE000) {
      append_utf8(out, 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
      i += 2;
    } else {
      append_utf8(out, high || low ? 0xFFFD : first);
    }
  }
  if (i < bytes.size()) out += kReplacement;
  return out;
}

}  // namespace

// By Unicode 15, table 3-7: the second byte has a range of its own after E0, ED, F0 and F4, so that overlong forms,
// surrogates and values above 10FFFF are refused.
Utf8Step utf8_step(std::string_view s) {
  const unsigned lead = byte_at(s, 0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (s.size() < 2 || byte_at(s, 1) < low || byte_at(s, 1) > high) return {1, false};
  for (size_t i = 2; i < length; ++i)
    if (i >= s.size() || (byte_at(s, i) & 0xC0) != 0x80) return {i, false};
  return {length, true};
}

bool is_valid_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = utf8_step(bytes.substr(i));
    if (!step.valid) return false;
    i += step.length;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = utf8_step(bytes);
    out += step.valid ? bytes.substr(0, step.length) : kReplacement;
    bytes.remove_prefix(step.length);
  }
  return out;
}

std::string clean_text(std::string_view given) {
  if (given.starts_with(kMark)) given.remove_prefix(kMark.size());
  return replace_invalid_utf8(given);
}

std::string decode_text(std::string bytes, const std::string& name) {
  const std::string_view all = bytes;
  const auto begins = [&](std::string_view mark) { return all.starts_with(mark); };
  check(!begins({"\xFF\xFE\0\0", 4}) && !begins({"\0\0\xFE\xFF", 4}), name, ": is UTF-32 text; save it as UTF-8");
  std::string text;
  if (begins("\xFF\xFE") || begins("\xFE\xFF"))
    text = from_utf16(all.substr(2), begins("\xFE"));
  else
    text = begins(kMark) ? bytes.substr(kMark.size()) : std::move(bytes);
  check(text.find('\0') == std::string::npos, name,
        ": holds zero bytes, so it is UTF-16 without a byte-order mark, or no text; save it as UTF-8");
  return text;
}

std::string read_text_file(const std::filesystem::path& path) {
  const std::string text = decode_text(read_file(path), path.string());
  if (is_valid_utf8(text)) return text;
  size_t at = 0;
  for (Utf8Step step = utf8_step(text); step.valid; step = utf8_step(std::string_view(text).substr(at)))
    at += step.length;
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  log_warning(concat(path.string(), ": line ", line, " is not UTF-8; what cannot be read is taken as ", kReplacement));
  return replace_invalid_utf8(text);
}

std::vector<std::string> text_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("\r\n"), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(text.substr(end).starts_with("\r\n") ? end + 2 : std::min(end + 1, text.size()));
  }
  return lines;
}

std::string printable(std::string_view text) {
  const std::string valid = replace_invalid_utf8(text);
  std::string out;
  for (size_t i = 0; i < valid.size();) {
    const std::string_view character =
        std::string_view(valid).substr(i, utf8_step(std::string_view(valid).substr(i)).length);
    i += character.size();
    // The controls of ASCII, and those of Latin-1 behind them (U+0080 to U+009F, led by C2).
    const unsigned code = byte_at(character, character.size() - 1);
    const bool control = character.size() == 1 ? code < 0x20 || code == 0x7F : character[0] == '\xC2' && code < 0xA0;
    if (!control || code == '\t') {
      out += character;
    } else if (code == '\n' || code == '\r') {
      out += code == '\n' ? "\\n" : "\\r";
    } else {
      std::array<char, 16> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", code);
      out += escaped.data();
    }
  }
  return out;
}

}  // namespace crescendo
