// Numbers and strings as pickles write them in text (protocol 0) and in two's complement. Nothing where the input is
// damaged.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace crescendo::pickle {

// A decimal number, whole: "12", "-1.5e3".
template <class T>
std::optional<T> number_of(std::string_view text) {
  T out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return out;
}

// Little-endian two's complement of any length, without the bytes that only repeat the sign (down to 8).
std::string_view shortened(std::string_view twos_complement);
// "0x1950a8..." or "-0x...".
std::string hex_of(std::string_view twos_complement);

// A quoted string with the escapes of Python's repr().
std::optional<std::string> unquoted(std::string_view text);
// Latin-1 with \uXXXX and \UXXXXXXXX -> UTF-8.
std::optional<std::string> unescaped(std::string_view text);
// UTF-8 whose characters are all below 256 -> one byte each.
std::optional<std::string> latin1_of(std::string_view utf8);

}  // namespace crescendo::pickle
