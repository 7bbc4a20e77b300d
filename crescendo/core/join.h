// Names in a line, as messages list them: {"a", "b"} -> "a, b".
#pragma once

#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace crescendo {

// What `say` makes of each part, with `between` between two of them.
template <class Parts, class Say = std::identity>
std::string join(const Parts& parts, std::string_view between = ", ", Say say = {}) {
  std::ostringstream out;
  std::string_view before;
  for (const auto& part : parts) out << std::exchange(before, between) << std::invoke(say, part);
  return out.str();
}

}  // namespace crescendo
