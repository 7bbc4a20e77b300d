// The fields that the library's messages name -> the options that a user of a command types.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace crescendo {

// `message` with the names in backquotes as options of a command, whose options are `flags` ("--class"):
//   `skip_bad` -> --skip-bad      `labels` -> --class      `train.lr` -> --train.lr, or --lr where it has no such
//   `flip=false` -> --set flip=false; without --set: `cfg=3` -> --cfg 3, `decode=false` -> --no-decode
// What none of the options means stays as it is.
std::string with_flags(std::string_view message, const std::set<std::string>& flags);

}  // namespace crescendo
