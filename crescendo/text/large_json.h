// JSON of vocabularies: core/json.h's Json keeps the order of keys and searches them one by one, which is too slow for
// 150,000 of them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "crescendo/core/check.h"
#include "crescendo/core/other_kind.h"

namespace crescendo {

using LargeJson = nlohmann::json;

// `where` stands in errors, which say what a text that is not JSON is instead.
inline LargeJson parse_large_json(const std::string& text, const std::string& where) {
  try {
    return LargeJson::parse(text);
  } catch (const LargeJson::exception& e) {
    const std::string other = other_kind(std::string_view(text).substr(0, 512), text.size());
    fail(where, " is not valid JSON: ", other.empty() ? e.what() : "it is " + other);
  }
}

}  // namespace crescendo
