// Numbers as people write them: decimal, and the whole text is the number.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <optional>
#include <string_view>

namespace crescendo {

// None where the text is anything else: empty, with spaces, a plus sign, hexadecimal, out of range, infinite or NaN.
// A leading zero means nothing: 010 is ten. Whole numbers have no exponent.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  if constexpr (std::floating_point<T>)
    if (!std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace crescendo
