#include "crescendo/cli/args.h"

#include <unistd.h>

#include <cstring>
#include <iostream>
#include <numeric>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/log.h"
#include "crescendo/core/memory.h"
#include "crescendo/core/number.h"
#include "crescendo/kernels/cpu/onednn.h"

namespace crescendo {

void CommonOptions::add(CLI::App& command) {
  const std::string group = "Common";
  command.add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str()->group(group);
  command.add_option("--dtype", dtype, "fp32 or bf16: precision of the weights and products")
      ->capture_default_str()
      ->group(group);
  add_number(command, "--threads", threads, "CPU threads; 0 is $OMP_NUM_THREADS, or one per core", 0, 4096)
      ->capture_default_str()
      ->group(group);
  command.add_flag("--quiet", quiet, "say nothing but errors and warnings")->group(group);
  command.add_flag("--verbose", verbose, "say more")->group(group);
  command.add_flag("--json", json, "print the result as JSON")->group(group);
  command.add_flag("--dry-run", dry_run, "print the resolved configuration as JSON and stop")->group(group);
}

void CommonOptions::apply() const {
  check_usage(!(quiet && verbose), "--quiet and --verbose contradict each other");
  check_usage(dtype == "fp32" || dtype == "bf16", "--dtype must be fp32 or bf16, got '", dtype, "'");
  parsed_device();  // a name that means nothing is better found before the work
  set_up_torch(threads);
  if (dtype == "bf16" && parsed_device().is_cpu() && !cpu_has_bf16())
    log_warning("this processor has no bf16 products: --dtype fp32 will be faster");
  set_log_level(quiet ? LogLevel::kQuiet : verbose ? LogLevel::kVerbose : LogLevel::kNormal);
  if (dtype == "fp32" && parsed_device().is_cpu() && onednn::instructions(at::kBFloat16) == "AMX")
    log_info("this processor multiplies in bf16 by AMX: --dtype bf16 will be several times as fast");
}

CLI::Option* TextEncoderPlace::add(CLI::App& command) {
  return command
      .add_option("--text-encoder-device", device, "cpu, cuda or cuda:N, where prompts are read; auto is --device")
      ->capture_default_str();
}

template <class Number>
Number number_in(const std::string& text, const std::string& option, Number low, Number high) {
  const std::string got = text.size() <= 40 ? text : text.substr(0, 40) + "...";
  const auto value = parse_number<Number>(text);
  if constexpr (std::is_integral_v<Number>) {
    const std::string_view digits = std::string_view(text).substr(text.starts_with('-') ? 1 : 0);
    const bool whole = !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
    check_usage(whole, option, " must be a whole number, got '", got, "'");
    const bool below = value ? *value < low : text.starts_with('-');
    check_usage(!below, option, " must be at least ", low, ", got ", got);
    check_usage(value && *value <= high, option, " must be at most ", high, ", got ", got);
  } else {
    check_usage(value.has_value(), option, " must be a finite number, got '", got, "'");
    check_usage(*value >= low, option, " must be at least ", low, ", got ", got);
    check_usage(*value <= high, option, " must be at most ", high, ", got ", got);
  }
  return *value;
}
template int64_t number_in(const std::string&, const std::string&, int64_t, int64_t);
template uint64_t number_in(const std::string&, const std::string&, uint64_t, uint64_t);
template double number_in(const std::string&, const std::string&, double, double);

std::vector<uint64_t> seeds_from(uint64_t first, int64_t images) {
  const auto count = static_cast<uint64_t>(images);
  check_usage(images < 1 || first <= std::numeric_limits<uint64_t>::max() - (count - 1), "the seeds of ", images,
              " images from --seed ", first, " on run beyond ", std::numeric_limits<uint64_t>::max(),
              ", the largest; begin lower");
  std::vector<uint64_t> seeds(count);
  std::iota(seeds.begin(), seeds.end(), first);
  return seeds;
}

void add_examples(CLI::App& command, const std::vector<std::string>& examples) {
  std::string footer = "Examples:";
  for (const auto& e : examples) footer += "\n  crescendo " + e;
  command.footer(footer);
}

void print_json(const Json& value) { std::cout << json_text(value, 2) << std::endl; }

std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option) {
  const char separator = text.find(':') != std::string::npos ? ':' : ',';
  std::vector<int64_t> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const auto number = parse_number<int64_t>(item);
    check_usage(number && *number >= 0 && !item.starts_with('-'), option,
                " takes numbers with commas or colons between them, got '", text, "'");
    out.push_back(*number);
    begin = end + 1;
  }
  return out;
}

namespace {

// The nearest folder above `place`, or `place` itself, that exists.
std::filesystem::path existing_part(std::filesystem::path place) {
  std::error_code ignored;
  while (!std::filesystem::exists(place, ignored) && place.has_relative_path()) place = place.parent_path();
  return place;
}

}  // namespace

void check_writable(const std::string& path, bool folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (folder)
    check(!fs::exists(status) || fs::is_directory(status), "cannot write into ", path,
          ": a file of that name stands there");
  else
    check(!fs::exists(status) || fs::is_regular_file(status), "cannot write ", path, ": it is ",
          fs::is_directory(status) ? "a folder" : "no regular file");
  // Folders that lack are made when there is something to put into them.
  fs::path place = fs::absolute(path).lexically_normal();
  if (!folder || !fs::exists(status)) place = place.parent_path();
  place = existing_part(place);
  check(fs::is_directory(place, ignored), "cannot write ", path, ": ", place.string(), " is no folder");
  check(::access(place.c_str(), W_OK | X_OK) == 0, "cannot write ", path, ": ", place.string(), ": ",
        std::strerror(errno));
}

void check_fits_disk(const std::string& path, double need_bytes, const std::string& what, const std::string& remedy) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::space_info space = fs::space(existing_part(fs::absolute(path).lexically_normal()), error);
  if (error) return;  // writing will tell
  const auto available = static_cast<double>(space.available);
  check(need_bytes <= available, what, " need ", format_bytes(need_bytes), " of ", path, "'s disk, ",
        format_bytes(available), " are left; ", remedy);
}

void make_parent(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) make_directories(parent);
}

void check_picture_name(const std::string& path, const std::string& option) {
  check_usage(path.empty() || is_png_name(path), option, " must end in .png, got '", path,
              "': pictures are written as PNG");
}

bool is_png_name(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  return extension == ".png" || extension == ".PNG";
}

}  // namespace crescendo
