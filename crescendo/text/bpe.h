// Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): string -> token ids (N), and back.
//
// Reads a Hugging Face tokenizer.json as Qwen2's is made: NFC, splits by regular expressions, byte level, merges by
// rank, added tokens matched before everything else. What it does not know (another normalizer, pre-tokenizer or model)
// is an error that names it, never a guess. Safe to use from several threads.
//
// Older folders hold vocab.json and merges.txt instead; text/slow_tokenizer.h makes a tokenizer.json of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crescendo {

// Whether a folder holds what TokenizerFiles::read needs.
bool has_tokenizer_files(const std::filesystem::path& folder);

// The two files of a tokenizer in Hugging Face layout, as text.
struct TokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;  // may be empty: then there is no pad token

  // A pad token that only special_tokens_map.json names is written into tokenizer_config_json.
  static TokenizerFiles read(const std::filesystem::path& folder);
  void write(const std::filesystem::path& folder) const;
};

class Bpe {
 public:
  // `name` stands in errors.
  Bpe(const TokenizerFiles& files, const std::string& name);
  static Bpe load(const std::filesystem::path& folder);

  // Invalid UTF-8 is replaced by U+FFFD first. Adds no token of its own: neither a start nor an end.
  std::vector<int64_t> encode(std::string_view text) const;
  // Ids back to text; bytes that are no valid UTF-8 (a character cut in two) become U+FFFD.
  std::string decode(std::span<const int64_t> ids) const;

  // Highest id + 1: the rows that an embedding needs.
  int64_t vocab_size() const;
  // The id of a token under its spelling in tokenizer.json.
  std::optional<int64_t> token_id(std::string_view spelling) const;
  // tokenizer_config.json's pad_token; throws where there is none.
  int64_t pad_id() const;

 private:
  struct Tables;
  struct Cache;
  std::shared_ptr<const Tables> tables_;
  std::shared_ptr<Cache> cache_;
};

// GPT-2's alphabet: each byte has a printable character that stands for it in tokenizer.json.
std::string byte_spelling(unsigned char byte);

}  // namespace crescendo
