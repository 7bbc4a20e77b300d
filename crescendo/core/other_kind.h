// What a file is that was given in place of weights or JSON: what downloads leave behind, archives, other programs'
// models.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crescendo {

// "a Git LFS pointer ...": a part of a sentence that says what to do where that is known; empty where the beginning
// (512 bytes are enough) tells nothing. `size` is that of the whole file.
std::string other_kind(std::string_view head, uint64_t size);
// The same, and in the end plain text with how it begins; for formats that are not text themselves.
std::string other_kind_or_text(std::string_view head, uint64_t size);

}  // namespace crescendo
