// Enumerations with names, for the command line, configs and messages.
//
// An enum opts in with a table found by argument-dependent lookup:
//   enum class Filter { kSpatial, kFourier };
//   constexpr auto enum_table(Filter) { return std::array{EnumName{Filter::kSpatial, "spatial"}, ...}; }
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "crescendo/core/check.h"

namespace crescendo {

template <class E>
struct EnumName {
  E value;
  std::string_view name;
};
template <class E>
EnumName(E, const char*) -> EnumName<E>;

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E e) {
  enum_table(e);
};

template <NamedEnum E>
std::string enum_name(E value) {
  for (const auto& entry : enum_table(E{}))
    if (entry.value == value) return std::string(entry.name);
  fail("enum_name: value ", static_cast<int>(value), " has no name");
}

template <NamedEnum E>
std::string enum_choices() {
  std::string out;
  for (const auto& entry : enum_table(E{})) out += (out.empty() ? "" : "|") + std::string(entry.name);
  return out;
}

// Throws a usage error that lists the choices.
template <NamedEnum E>
E parse_enum(std::string_view name, std::string_view what) {
  for (const auto& entry : enum_table(E{}))
    if (entry.name == name) return entry.value;
  usage_error(what, " must be ", enum_choices<E>(), ", got '", name, "'");
}

}  // namespace crescendo
