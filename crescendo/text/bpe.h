// Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): string -> token ids (N), and back.
//
// Added tokens are matched before everything else; what lies between them is composed (NFC), cut into pieces by regular
// expressions, and each piece is merged from its bytes by rank. text/tokenizer_json.h reads a tokenizer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "crescendo/text/pretokenize.h"

namespace crescendo {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

// Added tokens, found leftmost and longest.
class AddedTokens {
 public:
  void add(std::string content, int32_t id);
  // Calls on_text with what lies between the tokens and on_token with each id.
  void cut(std::string_view text, const std::function<void(std::string_view)>& on_text,
           const std::function<void(int32_t)>& on_token) const;

 private:
  struct Token {
    std::string content;
    int32_t id;
  };
  std::array<std::vector<Token>, 256> by_first_byte_;  // longest first
};

// What a tokenizer knows, from whatever file.
struct BpeTables {
  struct Merge {
    int32_t rank;
    int32_t id;  // of the joined token
  };
  static uint64_t pair(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::string name;  // stands in errors
  bool nfc = false;
  std::vector<RegexSplitter> splitters;  // each cuts the pieces of the one before it
  AddedTokens raw_added;                 // matched in the text as it is
  AddedTokens normalized_added;          // matched after normalization
  StringMap<int32_t> ids;                // spelling -> id
  std::array<int32_t, 256> byte_ids;
  StringMap<int32_t> whole_tokens;                // bytes -> id, filled where a piece that is a token needs no merges
  std::unordered_map<uint64_t, Merge> merges;     // by pair()
  std::vector<std::optional<std::string>> bytes;  // by id; nothing where there is no such token
  int32_t pad = -1;
};

// Safe to use from several threads.
class Bpe {
 public:
  explicit Bpe(BpeTables tables);

  // Invalid UTF-8 is replaced by U+FFFD first. Adds no token of its own: neither a start nor an end.
  std::vector<int64_t> encode(std::string_view text) const;
  // Ids back to text; bytes that are no valid UTF-8 (a character cut in two) become U+FFFD.
  std::string decode(std::span<const int64_t> ids) const;

  // Highest id + 1: the rows that an embedding needs.
  int64_t vocab_size() const;
  // The id of a token under its spelling in tokenizer.json.
  std::optional<int64_t> token_id(std::string_view spelling) const;
  // The pad token of tokenizer_config.json; throws where there is none.
  int64_t pad_id() const;

 private:
  struct Cache;
  std::shared_ptr<const BpeTables> tables_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace crescendo
