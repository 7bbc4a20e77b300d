#include "crescendo/text/bpe_train.h"

#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"
#include "crescendo/text/pretokenize.h"

namespace crescendo {

namespace {

constexpr std::array<const char*, 3> kSpecialTokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

using Pair = std::pair<int32_t, int32_t>;
struct PairHash {
  size_t operator()(const Pair& p) const {
    return std::hash<uint64_t>()(static_cast<uint64_t>(static_cast<uint32_t>(p.first)) << 32 |
                                 static_cast<uint32_t>(p.second));
  }
};

struct Word {
  std::vector<int32_t> tokens;
  int64_t count;
};

struct PairUse {
  int64_t count = 0;
  std::vector<size_t> words;  // where it occurs or once did; may repeat
};

struct Candidate {
  int64_t count;
  Pair pair;
  bool operator<(const Candidate& o) const {  // most frequent on top, of equals the one with the smaller ids
    return count != o.count ? count < o.count : pair > o.pair;
  }
};

// Distinct pieces with their counts, in an order that depends on the texts alone.
std::map<std::string, int64_t, std::less<>> count_pieces(std::span<const std::string> texts) {
  const RegexSplitter splitter(kQwen2Split, /*literal=*/false, "train_bpe");
  std::map<std::string, int64_t, std::less<>> counts;
  for (const std::string& text : texts) {
    const std::string normal = to_nfc(is_valid_utf8(text) ? text : replace_invalid_utf8(text));
    splitter.split(normal, [&](std::string_view piece) {
      if (const auto it = counts.find(piece); it != counts.end())
        ++it->second;
      else
        counts.emplace(piece, 1);
    });
  }
  return counts;
}

// Adds to an object without nlohmann::ordered_json's search for the key, which is linear.
void append(Json& object, std::string key, Json value) {
  object.get_ref<Json::object_t&>().push_back({std::move(key), std::move(value)});
}

TokenizerFiles make_files(const std::vector<std::string>& tokens, const std::vector<std::string>& merges) {
  Json vocab = Json::object();
  for (size_t id = 0; id < tokens.size(); ++id) append(vocab, tokens[id], id);
  Json added = Json::array();
  for (size_t i = 0; i < kSpecialTokens.size(); ++i)
    added.push_back({{"id", tokens.size() + i},
                     {"content", kSpecialTokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const Json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const Json split{
      {"type", "Split"}, {"pattern", {{"Regex", kQwen2Split}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json model{{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", ""},
                   {"end_of_word_suffix", ""},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"vocab", std::move(vocab)},
                   {"merges", merges}};
  const Json tokenizer{{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", std::move(added)},
                       {"normalizer", {{"type", "NFC"}}},
                       {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}},
                       {"post_processor", byte_level},
                       {"decoder", byte_level},
                       {"model", model}};
  const Json config{{"tokenizer_class", "Qwen2Tokenizer"}, {"pad_token", kSpecialTokens[0]},
                    {"eos_token", kSpecialTokens[0]},      {"model_max_length", 32768},
                    {"add_prefix_space", false},           {"errors", "replace"}};
  return {json_text(tokenizer, 2) + "\n", json_text(config, 2) + "\n"};
}

}  // namespace

TokenizerFiles train_bpe(std::span<const std::string> texts, int64_t vocab_size) {
  constexpr auto kSmallest = static_cast<int64_t>(256 + kSpecialTokens.size());
  check_usage(vocab_size >= kSmallest && vocab_size <= 1 << 24, "train_bpe: vocab_size must be in ", kSmallest, "..",
              1 << 24, ", got ", vocab_size);
  const auto merged_size = static_cast<size_t>(vocab_size) - kSpecialTokens.size();

  // The bytes, in the order of the characters that stand for them (two-byte spellings sort behind ASCII as UTF-8 does).
  std::vector<std::string> tokens;  // id -> spelling
  for (unsigned b = 0; b < 256; ++b) tokens.push_back(byte_spelling(static_cast<unsigned char>(b)));
  std::sort(tokens.begin(), tokens.end());
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], static_cast<int32_t>(id));

  std::vector<Word> words;
  for (const auto& [piece, count] : count_pieces(texts)) {
    words.push_back({{}, count});
    for (const char c : piece) words.back().tokens.push_back(ids.at(byte_spelling(static_cast<unsigned char>(c))));
  }
  std::unordered_map<Pair, PairUse, PairHash> uses;
  const auto count_pairs = [&](size_t index, int64_t sign, const auto& on_pair) {
    const Word& word = words[index];
    for (size_t i = 0; i + 1 < word.tokens.size(); ++i) {
      const Pair pair{word.tokens[i], word.tokens[i + 1]};
      PairUse& use = uses[pair];
      use.count += sign * word.count;
      if (sign > 0) use.words.push_back(index);
      on_pair(pair);
    }
  };
  for (size_t i = 0; i < words.size(); ++i) count_pairs(i, +1, [](const Pair&) {});
  std::priority_queue<Candidate> queue;
  for (const auto& [pair, use] : uses) queue.push({use.count, pair});

  std::vector<std::string> merges;
  while (tokens.size() < merged_size && !queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    PairUse& use = uses[best.pair];
    if (use.count != best.count) continue;  // outdated: the pair was queued anew when its count changed
    if (best.count < 2) break;
    const auto [left, right] = best.pair;
    const std::string spelling = tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)];
    merges.push_back(tokens[static_cast<size_t>(left)] + " " + tokens[static_cast<size_t>(right)]);
    const auto [it, is_new] = ids.emplace(spelling, static_cast<int32_t>(tokens.size()));
    if (is_new) tokens.push_back(spelling);  // else another pair has made the same token before
    const int32_t joined = it->second;

    std::vector<size_t> touched = std::move(use.words);
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    std::vector<Pair> changed;
    const auto note = [&](const Pair& pair) { changed.push_back(pair); };
    for (const size_t index : touched) {
      count_pairs(index, -1, note);
      auto& t = words[index].tokens;
      size_t kept = 0;
      for (size_t i = 0; i < t.size(); ++kept) {
        const bool here = i + 1 < t.size() && t[i] == left && t[i + 1] == right;
        t[kept] = here ? joined : t[i];
        i += here ? 2 : 1;
      }
      t.resize(kept);
      count_pairs(index, +1, note);
    }
    std::sort(changed.begin(), changed.end());
    changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    for (const Pair& pair : changed) {
      const int64_t count = uses[pair].count;
      if (count > 0)
        queue.push({count, pair});
      else
        uses.erase(pair);
    }
  }
  return make_files(tokens, merges);
}

}  // namespace crescendo
