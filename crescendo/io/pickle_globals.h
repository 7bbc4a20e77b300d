// The classes and functions that a pickle may name. Calling one makes data; nothing is imported, nothing runs.
#pragma once

#include <string_view>

#include "crescendo/io/pickle_arena.h"

namespace crescendo::pickle {

// The value that stands for `module`.`name`, foreign where it is not on the list.
Id find_global(Arena& arena, std::string_view module, std::string_view name);

// callee(*arguments); a foreign callee makes a foreign object.
Id call(Arena& arena, Id callee, Id arguments);

// target.__setstate__(state)
void set_state(Arena& arena, Id target, Id state);

}  // namespace crescendo::pickle
