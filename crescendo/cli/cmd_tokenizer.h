// What the subcommands of `crescendo tokenizer` share.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "crescendo/cli/args.h"
#include "crescendo/data/pictures.h"
#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/tokenizer/vq_vae.h"

namespace crescendo {

inline constexpr int64_t kLargestSide = 11585;  // of a square that is read at all (kMaxImagePixels)

// Of the subcommands that use a tokenizer.
struct TokenizerArguments {
  CommonOptions common;
  std::vector<std::string> inputs;
  std::string model, out;
  int64_t size = 0;
  int64_t count = 0;
  int64_t tile = 0;
  std::string filter = "both";
  int64_t levels = 0;

  // What --dry-run prints.
  Json resolved(const std::filesystem::path& tokenizer) const;
};

// Adds a subcommand with what all of them take. `input` and `out` are the help of the two.
CLI::App* add_tokenizer_user(CLI::App& tokenizer, const char* name, const char* description, TokenizerArguments& a,
                             const std::string& input, const std::string& out);

// Applies the common options and finds the tokenizer's folder or file.
std::filesystem::path apply_and_find(const TokenizerArguments& a);
std::unique_ptr<KlVae> open_tokenizer(const TokenizerArguments& a, const std::filesystem::path& path);
// A VQ tokenizer, which is used in fp32 and as a whole.
std::unique_ptr<VqVae> open_vq_tokenizer(const TokenizerArguments& a, const std::filesystem::path& path);
// The pictures of the inputs, whose sides must be multiples of `factor`.
std::vector<NamedPicture> read_pictures(const TokenizerArguments& a, int64_t factor);

void add_tokenizer_train(CLI::App& tokenizer);
void add_tokenizer_encode(CLI::App& tokenizer);
void add_tokenizer_decode(CLI::App& tokenizer);
void add_tokenizer_reconstruct(CLI::App& tokenizer);
void add_tokenizer_filter(CLI::App& tokenizer);

}  // namespace crescendo
