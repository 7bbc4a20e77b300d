// What the commands share: common options, help, and how they end.
#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/device.h"
#include "crescendo/core/fields.h"
#include "crescendo/core/json.h"

namespace crescendo {

// Options that most commands take. add() registers them; apply() makes them so.
struct CommonOptions {
  std::string device = "auto";
  std::string dtype = "fp32";
  int64_t threads = 0;
  bool quiet = false;
  bool verbose = false;
  bool json = false;
  bool dry_run = false;

  void add(CLI::App& command);
  void apply() const;  // threads and log level
  at::Device parsed_device() const { return parse_device(device); }
  at::ScalarType parsed_dtype() const { return parse_dtype(dtype); }
};

// Where prompts are read, which need not be where pictures are made: --text-encoder-device.
struct TextEncoderPlace {
  std::string device = "auto";

  CLI::Option* add(CLI::App& command);
  at::Device parsed_device(const CommonOptions& common) const {
    return device == "auto" ? common.parsed_device() : parse_device(device);
  }
};

// The number that `text`, given for `option`, says (core/number.h). Throws where it is none, or outside of low..high.
// For int64_t, uint64_t and double.
template <class Number>
Number number_in(const std::string& text, const std::string& option, Number low = std::numeric_limits<Number>::lowest(),
                 Number high = std::numeric_limits<Number>::max());

template <class T>
struct NumberOf {
  using Type = T;
};
template <class T>
struct NumberOf<std::optional<T>> {
  using Type = T;
};

// An option that takes one number, in low..high. A std::optional stays unset where the option is not given. CLI11's own
// options read 010 as octal, and turn what is out of range into the nearest number that is not.
template <class T, class Number = typename NumberOf<T>::Type>
CLI::Option* add_number(CLI::App& command, const std::string& name, T& value, const std::string& help,
                        std::type_identity_t<Number> low = std::numeric_limits<Number>::lowest(),
                        std::type_identity_t<Number> high = std::numeric_limits<Number>::max()) {
  const CLI::callback_t take = [&value, name, low, high](const CLI::results_t& given) {
    value = number_in<Number>(given.front(), name, low, high);
    return true;
  };
  CLI::Option* option = command.add_option(name, take, help)->type_name(std::is_integral_v<Number> ? "N" : "X");
  if constexpr (std::same_as<T, Number>) option->default_function([&value] { return concat(value); });
  return option;
}

// Seeds of so many images, counted up from the first. Throws where they would run over.
std::vector<uint64_t> seeds_from(uint64_t first, int64_t images);

// Two examples at the end of a command's help.
void add_examples(CLI::App& command, const std::vector<std::string>& examples);

// Prints a result for machines to stdout.
void print_json(const Json& value);

// "0,2,3" or "40:100": whole numbers with commas or a colon between them.
std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option);

// Throws unless a file can be created at `path` (or inside it, for a folder), before hours of work depend on it. Makes
// nothing itself, so that work which fails leaves nothing behind.
void check_writable(const std::string& path, bool folder);
// Throws where the file system that `path` will lie on has less left than `need_bytes`.
void check_fits_disk(const std::string& path, double need_bytes, const std::string& what, const std::string& remedy);
// Makes the folder that the file `path` goes to.
void make_parent(const std::string& path);

bool is_png_name(const std::string& path);
// Throws where `path` is neither empty nor the name of a PNG.
void check_picture_name(const std::string& path, const std::string& option);

// One per command, each in its cmd_*.cc: registers the subcommand, whose callback does the work.
void add_generate_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_data_command(CLI::App& app);
void add_tokenizer_command(CLI::App& app);
void add_text_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_version_command(CLI::App& app);

}  // namespace crescendo
