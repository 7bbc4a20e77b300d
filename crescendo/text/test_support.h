// A tokenizer for tests, as the object of its tokenizer.json.
#pragma once

#include "crescendo/core/json.h"
#include "crescendo/text/tokenizer_json.h"

namespace crescendo::test {

// A tokenizer whose bytes have the ids 0..255 (id = byte), with the given merges; then tokens from 300 on.
inline Json small_tokenizer(const std::vector<std::pair<std::string, std::string>>& merges) {
  Json vocab = Json::object();
  for (unsigned b = 0; b < 256; ++b) vocab[byte_spelling(static_cast<unsigned char>(b))] = b;
  Json list = Json::array();
  int id = 256;
  for (const auto& [left, right] : merges) {
    vocab[left + right] = id++;
    list.push_back(left + " " + right);
  }
  return {{"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             Json::array({{{"type", "Split"}, {"pattern", {{"Regex", kQwen2Split}}}, {"behavior", "Isolated"}},
                          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}})}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}},
          {"added_tokens",
           Json::array({{{"id", 300}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
                        {{"id", 301}, {"content", "<|end|>>"}, {"special", true}, {"normalized", false}}})}};
}

inline Bpe bpe_of(const Json& tokenizer, const std::string& config = R"({"pad_token": "<|end|>"})") {
  return make_bpe({tokenizer.dump(), config}, "test");
}

}  // namespace crescendo::test
