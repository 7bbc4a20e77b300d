#include "crescendo/cli/flags.h"

#include <algorithm>
#include <array>
#include <utility>

namespace crescendo {

namespace {

// Fields that no option is called after.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kOtherNames = {
    {{"labels", "class"}, {"text", "prompt"}}};

constexpr std::string_view kKeyCharacters = "abcdefghijklmnopqrstuvwxyz0123456789_.";

// The option that a field is, `before` standing in front of its name ("--" or "--no-"). Empty where there is none.
std::string flag_of(std::string_view field, const std::set<std::string>& flags, const std::string& before = "--") {
  const auto other =
      std::find_if(kOtherNames.begin(), kOtherNames.end(), [&](const auto& n) { return n.first == field; });
  const std::string_view last = field.substr(field.rfind('.') + 1);
  for (const std::string_view name : {field, other == kOtherNames.end() ? field : other->second, last}) {
    std::string flag = before + std::string(name);
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (flags.contains(flag)) return flag;
  }
  return {};
}

// What stands between backquotes; empty where it is no field, or none of the command's.
std::string typed(std::string_view quoted, const std::set<std::string>& flags) {
  const std::string_view field = quoted.substr(0, quoted.find('='));
  if (field.empty() || field.find_first_not_of(kKeyCharacters) != std::string_view::npos) return {};
  if (field == quoted) return flag_of(field, flags);
  if (flags.contains("--set")) return "--set " + std::string(quoted);
  const std::string value(quoted.substr(field.size() + 1)), flag = flag_of(field, flags);
  if (!flag.empty()) return flag + " " + value;
  return value == "false" ? flag_of(field, flags, "--no-") : "";
}

}  // namespace

std::string with_flags(std::string_view message, const std::set<std::string>& flags) {
  std::string out;
  for (size_t i = 0; i < message.size();) {
    const size_t end = message[i] == '`' ? message.find('`', i + 1) : std::string_view::npos;
    const std::string flag = end == std::string_view::npos ? "" : typed(message.substr(i + 1, end - i - 1), flags);
    out += flag.empty() ? std::string(1, message[i]) : flag;
    i = flag.empty() ? i + 1 : end + 1;
  }
  return out;
}

}  // namespace crescendo
