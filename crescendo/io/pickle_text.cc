#include "crescendo/io/pickle_text.h"

#include <cstdint>

namespace crescendo::pickle {

namespace {

bool is_negative(std::string_view twos_complement) {
  return !twos_complement.empty() && (twos_complement.back() & 0x80) != 0;
}

// `digits` hexadecimal digits at the front of `text`.
std::optional<uint32_t> hex_at(std::string_view text, size_t digits) {
  uint32_t out = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, out, 16);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  return out;
}

void put_utf8(std::string& out, uint32_t code) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | ((code >> shift) & 63))); };
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | (code >> 12)));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | (code >> 18)));
    tail(12), tail(6), tail(0);
  }
}

}  // namespace

std::string_view shortened(std::string_view raw) {
  while (raw.size() > 8 && raw.back() == (is_negative(raw) ? '\xff' : '\0') &&
         is_negative(raw) == is_negative(raw.substr(0, raw.size() - 1)))
    raw.remove_suffix(1);
  return raw;
}

std::string hex_of(std::string_view raw) {
  std::string magnitude(raw);
  if (is_negative(raw)) {
    unsigned carry = 1;
    for (char& c : magnitude) {
      carry += static_cast<unsigned char>(~c);
      c = static_cast<char>(carry);
      carry >>= 8;
    }
  }
  std::string text;
  for (size_t i = magnitude.size() * 2; i-- > 0;) {
    const unsigned digit = (static_cast<unsigned char>(magnitude[i / 2]) >> (i % 2 ? 4 : 0)) & 15;
    if (digit != 0 || !text.empty()) text.push_back("0123456789abcdef"[digit]);
  }
  return (is_negative(raw) ? "-0x" : "0x") + text;
}

std::optional<std::string> unquoted(std::string_view text) {
  if (text.size() < 2 || (text[0] != '\'' && text[0] != '"') || text.back() != text[0]) return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    if (++i == text.size()) return std::nullopt;
    switch (text[i]) {
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 't':
        out.push_back('\t');
        break;
      case '\\':
      case '\'':
      case '"':
        out.push_back(text[i]);
        break;
      case 'x': {
        const auto code = hex_at(text.substr(i + 1), 2);
        if (!code) return std::nullopt;
        out.push_back(static_cast<char>(*code));
        i += 2;
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return out;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digits = text.substr(i).starts_with("\\u") ? 4 : text.substr(i).starts_with("\\U") ? 8 : 0;
    if (digits == 0) {
      put_utf8(out, static_cast<unsigned char>(text[i]));
      continue;
    }
    const auto code = hex_at(text.substr(i + 2), digits);
    if (!code || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff)) return std::nullopt;
    put_utf8(out, *code);
    i += 1 + digits;
  }
  return out;
}

std::optional<std::string> latin1_of(std::string_view utf8) {
  std::string out;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    if (lead < 0x80) {
      out.push_back(utf8[i]);
      continue;
    }
    if ((lead != 0xc2 && lead != 0xc3) || i + 1 == utf8.size() || (utf8[i + 1] & 0xc0) != 0x80) return std::nullopt;
    out.push_back(static_cast<char>(((lead & 3) << 6) | (utf8[++i] & 0x3f)));
  }
  return out;
}

}  // namespace crescendo::pickle
