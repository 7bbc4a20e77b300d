#include "crescendo/core/memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "crescendo/core/check.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// The number behind `key` in a file of lines "key number ..."; nothing where there is no such file or line.
std::optional<int64_t> number_behind(const fs::path& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first;
    int64_t number = 0;
    if (words >> first && first == key && words >> number) return number;
  }
  return std::nullopt;
}

// The number that a file holds; nothing where it says "max" or does not exist.
std::optional<int64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  int64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

// What one version of control groups calls its files.
struct GroupFiles {
  const char *mount, *limit, *usage, *reclaimable;
};
constexpr GroupFiles kVersion1{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"};
constexpr GroupFiles kVersion2{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

// What is left of the least limit among a group and all that it lies in. A group's path is the host's: in a container
// only the mount's own folder may exist.
int64_t left_in_groups(const fs::path& root, const GroupFiles& files, fs::path group) {
  int64_t left = std::numeric_limits<int64_t>::max();
  for (group = group.relative_path();; group = group.parent_path()) {
    const fs::path folder = root / files.mount / group;
    const auto limit = number_in(folder / files.limit);
    const auto usage = number_in(folder / files.usage);
    if (limit && usage) {
      const int64_t cached = number_behind(folder / "memory.stat", files.reclaimable).value_or(0);
      left = std::min(left, std::max<int64_t>(*limit - std::max<int64_t>(*usage - cached, 0), 0));
    }
    if (group.empty()) return left;
  }
}

}  // namespace

int64_t available_memory_bytes(const fs::path& root) {
  int64_t left = std::numeric_limits<int64_t>::max();
  if (const auto kib = number_behind(root / "proc/meminfo", "MemAvailable:")) left = *kib * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path group = line.substr(second + 1);
    if (controllers == ",,") left = std::min(left, left_in_groups(root, kVersion2, group));
    if (controllers.find(",memory,") != std::string::npos)
      left = std::min(left, left_in_groups(root, kVersion1, group));
  }
  return left;
}

std::string format_bytes(double bytes) {
  constexpr std::array kUnits = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  const double rounded = bytes < 9.95 ? std::round(bytes * 10) / 10 : std::round(bytes);
  return concat(rounded, " ", kUnits[unit]);
}

void check_fits_memory(double need_bytes, std::string_view what, std::string_view remedy) {
  const auto available = static_cast<double>(available_memory_bytes());
  check(need_bytes <= available, what, " needs ", format_bytes(need_bytes), " of memory, ", format_bytes(available),
        " are available; ", remedy);
}

}  // namespace crescendo
