// The one exception type, and the checks that throw it.
//
// A message names the rule that was broken, the value that was got and what to do about it, in one line:
//   "lowpass: level must be in 0..16, got 17"
// The command line turns an Error into "crescendo: error: ..." and the exit code of its kind.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace crescendo {

class Error : public std::runtime_error {
 public:
  enum class Kind { kFailure = 1, kUsage = 2 };  // the value is the exit code
  explicit Error(const std::string& message, Kind kind = Kind::kFailure) : std::runtime_error(message), kind_(kind) {}
  Kind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  Kind kind_;
};

// Joins its arguments with operator<<: concat("got ", 3) == "got 3".
template <class... Args>
std::string concat(Args&&... args) {
  std::ostringstream out;
  (out << ... << std::forward<Args>(args));
  return out.str();
}

// Something went wrong that the user's data or machine caused: exit code 1.
template <class... Args>
[[noreturn]] void fail(Args&&... args) {
  throw Error(concat(std::forward<Args>(args)...));
}

// The user asked for something that cannot be: exit code 2.
template <class... Args>
[[noreturn]] void usage_error(Args&&... args) {
  throw Error(concat(std::forward<Args>(args)...), Error::Kind::kUsage);
}

template <class... Args>
void check(bool ok, Args&&... args) {
  if (!ok) [[unlikely]]
    fail(std::forward<Args>(args)...);
}

template <class... Args>
void check_usage(bool ok, Args&&... args) {
  if (!ok) [[unlikely]]
    usage_error(std::forward<Args>(args)...);
}

}  // namespace crescendo
