// What the commands share: common options, help, and how they end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

// For options whose number must be at least 0. CLI11's own shows up in the help as part of the type.
CLI::Validator not_negative();

// Two examples at the end of a command's help.
void add_examples(CLI::App& command, const std::vector<std::string>& examples);

// Prints a result for machines to stdout.
void print_json(const Json& value);

// "40:100" or "70" as {40, 100} or {70}; any number of them.
std::vector<int64_t> parse_range(const std::string& text, const std::string& option);
// "0,2,3" as numbers.
std::vector<int64_t> parse_list(const std::string& text, const std::string& option);

// Throws unless a file can be created at `path` (or inside it, for a folder), before hours of work depend on it. Makes
// nothing itself, so that work which fails leaves nothing behind.
void check_writable(const std::string& path, bool folder);
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
