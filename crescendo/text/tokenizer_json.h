// A tokenizer in Hugging Face layout -> byte-level BPE.
//
// Reads a tokenizer.json as Qwen2's is made: NFC, splits by regular expressions, byte level, merges by rank, added
// tokens matched before everything else. What is not known (another normalizer, pre-tokenizer or model) is an error
// that names it, never a guess. Older folders hold vocab.json and merges.txt instead; text/slow_tokenizer.h makes a
// tokenizer.json of them.
#pragma once

#include <filesystem>
#include <string>

#include "crescendo/text/bpe.h"

namespace crescendo {

// Whether a folder holds what TokenizerFiles::read needs.
bool has_tokenizer_files(const std::filesystem::path& folder);

// The two files of a tokenizer, as text.
struct TokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // may be empty: then there is no pad token

  // A pad token that only special_tokens_map.json names is written into tokenizer_config_json.
  static TokenizerFiles read(const std::filesystem::path& folder);
  void write(const std::filesystem::path& folder) const;
};

// `name` stands in errors.
Bpe make_bpe(const TokenizerFiles& files, const std::string& name);
Bpe load_bpe(const std::filesystem::path& folder);

// GPT-2's alphabet: each byte has a printable character that stands for it in tokenizer.json.
std::string byte_spelling(unsigned char byte);

}  // namespace crescendo
