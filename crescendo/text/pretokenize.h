// Text before any merge: valid UTF-8 (core/utf8.h) -> NFC -> pieces cut by a regular expression.
//
// Unicode data comes from utf8proc (normal forms) and PCRE2 (character classes, look-ahead).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace crescendo {

// Qwen2's split: contractions, words with one leading mark, single digits, runs of other marks, line ends, spaces.
inline constexpr std::string_view kQwen2Split =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
// GPT-2's split, which a "ByteLevel" pre-tokenizer applies when it says use_regex.
inline constexpr std::string_view kGpt2Split =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

// Normal form C. Whole text at once: a split piece must not lose a combining mark to its neighbour.
bool is_plainly_nfc(std::string_view text);  // quick, may say no where the text is NFC
std::string to_nfc(std::string_view text);

// Cuts a text at the matches of a pattern; matches and what lies between them are pieces alike ("Isolated").
class RegexSplitter {
 public:
  RegexSplitter(std::string_view pattern, bool literal, std::string_view where);
  // `text` must be valid UTF-8. The pieces, joined, are the text; none is empty.
  void split(std::string_view text, const std::function<void(std::string_view)>& on_piece) const;

 private:
  std::shared_ptr<pcre2_real_code_8> code_;
};

}  // namespace crescendo
