// How much memory is left, so that work that cannot fit is refused before it begins.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace crescendo {

// Bytes that this process may still take: what the machine has (MemAvailable) or what the control groups around the
// process leave (versions 1 and 2), whichever is less. The largest int64 where the system tells neither. `root` stands
// in front of /proc and /sys, for tests.
int64_t available_memory_bytes(const std::filesystem::path& root = "/");

// "7.7 TB", "512 MB": three digits at most, powers of 1000.
std::string format_bytes(double bytes);

// Fails where `need_bytes` is more than what is available. The message is "WHAT needs 7.7 TB of memory, 16 GB are
// available; REMEDY". The need is a double so that no product of counts overflows.
void check_fits_memory(double need_bytes, std::string_view what, std::string_view remedy);

}  // namespace crescendo
